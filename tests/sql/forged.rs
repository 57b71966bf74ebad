//! Rows of the chain that somebody else has written.

use crate::world::{Kind, World};

/// One more row, as somebody writes it who knows `secret`.
pub(crate) async fn forged(world: &World, secret: &[u8], kind: &str, digest: &str) {
    let (encode, literal) = match world.kind {
        Kind::Sqlite => ("hex(mac)", "x'"),
        Kind::Postgres | Kind::Bounced => ("encode(mac, 'hex')", "'\\x"),
    };
    let n = world.number("SELECT CAST(n AS TEXT) FROM sb_ledger_heads").await + 1;
    let mac = world
        .raw(&format!("SELECT {encode} FROM sb_ledger_heads"))
        .await
        .remove(0);
    let mut row = octets_of(&mac);
    row.extend(n.to_be_bytes());
    for part in [kind, digest] {
        row.extend((part.len() as u64).to_be_bytes());
        row.extend(part.as_bytes());
    }
    let mut keyed = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(secret).unwrap();
    hmac::Mac::update(&mut keyed, &row);
    let hex: String = hmac::Mac::finalize(keyed)
        .into_bytes()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    world
        .raw(&format!(
            "INSERT INTO sb_ledger (deployment, n, kind, digest, mac) VALUES ('default', {n}, '{kind}', '{digest}', {literal}{hex}'); \
             UPDATE sb_ledger_heads SET n = {n}, mac = {literal}{hex}'"
        ))
        .await;
}

/// The octets of a hexadecimal text.
pub(crate) fn octets_of(hex: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(octet).collect()
}
