//! Headers that somebody else wrote, under the right key: nothing but exactly ours is decrypted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::enc::{A128GCM, A256GCM};
use josekit::jwe::{Dir, JweContentEncryption, JweContext, JweHeader};
use shipbound::owner::Owner;
use shipbound::store::seal::{self, DataKey, DataKeyId, SealContext, SealError, Table};
use zeroize::Zeroizing;

use super::owners;

const VALUE: &[u8] = b"sEcReTmArKeR";

/// A value of ours, and the content key that it is sealed under, derived here a second time.
struct Scene {
    owner: Owner,
    id: DataKeyId,
    key: DataKey,
    ctx: String,
    content_key: [u8; 32],
    sealed: String,
}

impl Scene {
    fn new() -> Self {
        let owner = owners::alike().remove(0);
        let key = [0x5a; 32];
        let id = DataKeyId::from_uuid(uuid::Uuid::from_u128(0xabcdef));
        let data_key = DataKey::new(Zeroizing::new(key));
        let sealed = seal::seal(id, &data_key, &SealContext::new(&owner, Table::Grants, 7), VALUE).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&part(&sealed, 0)).unwrap();
        let ctx = header["ctx"].as_str().unwrap().to_owned();
        Self {
            content_key: hkdf(&key, b"shipbound content key 1", &URL_SAFE_NO_PAD.decode(&ctx).unwrap()),
            owner,
            id,
            key: data_key,
            ctx,
            sealed,
        }
    }

    fn open(&self, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        seal::open(
            self.id,
            &self.key,
            &SealContext::new(&self.owner, Table::Grants, 7),
            sealed,
        )
    }

    /// A JWE with this header, rightly encrypted under the right key.
    fn with_header(&self, header: &str) -> String {
        self.with(header.as_bytes(), VALUE, &[9; 12])
    }

    fn with(&self, header: &[u8], value: &[u8], nonce: &[u8]) -> String {
        let header = URL_SAFE_NO_PAD.encode(header);
        let (text, tag) = A256GCM
            .encrypt(&self.content_key, Some(nonce), value, header.as_bytes())
            .unwrap();
        let [nonce, text, tag] = [nonce, &text, &tag.unwrap()].map(|octets| URL_SAFE_NO_PAD.encode(octets));
        format!("{header}..{nonce}.{text}.{tag}")
    }

    fn members(&self) -> [(&'static str, String); 4] {
        [
            ("alg", "\"dir\"".to_owned()),
            ("enc", "\"A256GCM\"".to_owned()),
            ("kid", format!("\"{}\"", self.id.as_uuid())),
            ("ctx", format!("\"{}\"", self.ctx)),
        ]
    }
}

fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    use hmac::{Hmac, KeyInit, Mac};
    let mac = |key: &[u8], data: &[&[u8]]| -> [u8; 32] {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
        data.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    mac(&mac(salt, &[secret]), &[info, &[1]])
}

fn part(sealed: &str, at: usize) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(sealed.split('.').nth(at).unwrap()).unwrap()
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn josekit_opens_ours_and_ours_opens_what_josekit_makes() {
    let scene = Scene::new();
    let decrypter = Dir.decrypter_from_bytes(scene.content_key).unwrap();
    let (value, header) = JweContext::new()
        .deserialize_compact(&scene.sealed, &decrypter)
        .unwrap();
    assert_eq!(value, VALUE);
    assert_eq!(header.claims_set().len(), 4);

    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_key_id(scene.id.as_uuid().to_string());
    header.set_claim("ctx", Some(scene.ctx.clone().into())).unwrap();
    let encrypter = Dir.encrypter_from_bytes(scene.content_key).unwrap();
    let made = JweContext::new().serialize_compact(VALUE, &header, &encrypter).unwrap();
    assert_eq!(scene.open(&made).unwrap().as_slice(), VALUE);
}

#[test]
fn a_header_with_any_other_member_or_value_is_refused() {
    let scene = Scene::new();
    let members = scene.members();
    // The helper makes what opens, in any order.
    assert!(scene.open(&scene.with_header(&object(&members))).is_ok());
    let reversed: Vec<_> = members.iter().rev().cloned().collect();
    assert!(scene.open(&scene.with_header(&object(&reversed))).is_ok());

    let mut headers = Vec::new();
    for (name, value) in [
        ("zip", "\"DEF\""),
        ("crit", "[]"),
        ("typ", "\"JWE\""),
        ("cty", "\"\""),
        ("jku", "\"https://evil.example\""),
        ("b64", "true"),
        ("", "0"),
    ] {
        let mut more = members.to_vec();
        more.push((name, value.to_owned()));
        headers.push(object(&more));
    }
    for left_out in 0..4 {
        let mut fewer = members.to_vec();
        fewer.remove(left_out);
        headers.push(object(&fewer));
        let mut twice = members.to_vec();
        twice.push(members[left_out].clone());
        headers.push(object(&twice));
    }
    for (at, value) in [
        (0, "\"DIR\""),
        (0, "\"none\""),
        (0, "\"A256KW\""),
        (0, "null"),
        (0, "[\"dir\"]"),
        (1, "\"A128GCM\""),
        (1, "\"A256CBC-HS512\""),
        (1, "\"a256gcm\""),
        (1, "1"),
        (2, "\"00000000-0000-0000-0000-000000abcdee\""),
        (2, "\"00000000-0000-0000-0000-000000ABCDEF\""),
        (2, "\"00000000000000000000000000abcdef\""),
        (2, "\"\""),
        (3, "\"\""),
        (3, "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""),
    ] {
        let mut other = members.to_vec();
        other[at].1 = value.to_owned();
        headers.push(object(&other));
    }
    headers.extend([
        "".into(),
        "{}".into(),
        "[]".into(),
        format!("{} ", object(&members)) + "x",
    ]);
    headers.push(format!("{}{}", object(&members), object(&members)));
    for header in headers {
        assert_eq!(
            scene.open(&scene.with_header(&header)).unwrap_err(),
            SealError::Refused,
            "{header}"
        );
    }
}

#[test]
fn a_compressed_one_of_josekits_is_not_inflated() {
    let scene = Scene::new();
    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_compression("DEF");
    header.set_key_id(scene.id.as_uuid().to_string());
    header.set_claim("ctx", Some(scene.ctx.clone().into())).unwrap();
    let encrypter = Dir.encrypter_from_bytes(scene.content_key).unwrap();
    let bomb = vec![0; 16 * 1024 * 1024];
    let made = JweContext::new().serialize_compact(&bomb, &header, &encrypter).unwrap();
    assert!(
        made.len() < seal::MAX_SEALED,
        "small enough to be looked at: {}",
        made.len()
    );
    let decrypter = Dir.decrypter_from_bytes(scene.content_key).unwrap();
    let (inflated, _) = JweContext::new().deserialize_compact(&made, &decrypter).unwrap();
    assert_eq!(inflated.len(), bomb.len(), "josekit inflates it");
    assert_eq!(scene.open(&made).unwrap_err(), SealError::Refused);
}

#[test]
fn another_cipher_under_the_right_header_is_refused() {
    let scene = Scene::new();
    let header = URL_SAFE_NO_PAD.encode(object(&scene.members()));
    let (text, tag) = A128GCM
        .encrypt(&scene.content_key[..16], Some(&[9; 12]), VALUE, header.as_bytes())
        .unwrap();
    let [nonce, text, tag] = [&[9; 12][..], &text, &tag.unwrap()].map(|octets| URL_SAFE_NO_PAD.encode(octets));
    let sealed = format!("{header}..{nonce}.{text}.{tag}");
    assert_eq!(scene.open(&sealed).unwrap_err(), SealError::Refused);
}

#[test]
fn what_is_cut_grown_or_written_in_another_way_is_refused() {
    let scene = Scene::new();
    let sealed = &scene.sealed;
    assert!(scene.open(sealed).is_ok());
    let mut texts: Vec<String> = (0..sealed.len()).map(|to| sealed[..to].to_owned()).collect();
    let parts: Vec<&str> = sealed.split('.').collect();
    let [header, _, nonce, text, tag] = parts[..] else {
        panic!()
    };
    texts.push(format!("{sealed}."));
    texts.push(format!("{sealed}A"));
    texts.push(format!("{sealed}="));
    texts.push(format!("{sealed}\n"));
    texts.push(format!(" {sealed}"));
    texts.push(format!("{header}.AAAA.{nonce}.{text}.{tag}"));
    texts.push(format!("{header}..{nonce}.{text}=.{tag}"));
    texts.push(format!("{header}..{nonce}\n.{text}.{tag}"));
    texts.push(format!("{header}==..{nonce}.{text}.{tag}"));
    texts.push(format!("{header}..{nonce}AAAA.{text}.{tag}"));
    texts.push(format!("{header}..{nonce}.{text}.{}", &tag[..16]));
    texts.push(format!("{header}..{}.{text}.{tag}", &nonce[..8]));
    // The unused bits of the tag's last character.
    let last = tag.chars().last().unwrap();
    let other = char::from_u32(u32::from(last) + 1).unwrap();
    texts.push(format!("{header}..{nonce}.{text}.{}{other}", &tag[..tag.len() - 1]));
    texts.push("A".repeat(seal::MAX_SEALED + 1));
    texts.push(format!("{header}..{nonce}.{}.{tag}", "A".repeat(65 * 1024)));
    texts.push(".".repeat(seal::MAX_SEALED));
    for text in texts {
        assert_eq!(scene.open(&text).unwrap_err(), SealError::Refused, "{text}");
    }
    // Every single bit counts.
    for at in 0..sealed.len() {
        let mut octets = sealed.clone().into_bytes();
        octets[at] ^= 1;
        if let Ok(text) = String::from_utf8(octets) {
            assert_eq!(scene.open(&text).unwrap_err(), SealError::Refused, "{at}");
        }
    }
}

#[test]
fn nonces_of_another_length_are_refused_under_the_right_key() {
    let scene = Scene::new();
    let header = object(&scene.members());
    assert!(scene.open(&scene.with(header.as_bytes(), VALUE, &[9; 12])).is_ok());
    for nonce in [&[9; 8][..], &[9; 16]] {
        let sealed = scene.with(header.as_bytes(), VALUE, nonce);
        assert_eq!(scene.open(&sealed).unwrap_err(), SealError::Refused);
    }
}
