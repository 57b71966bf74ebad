#!/usr/bin/env bash
# Makes the files of this directory anew, with keys of their own. README.md says what they are for.
set -e
P='sEcReTmArKeR-pkcs12'
ext() { printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\n' "$1"; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout authority.key -out authority.pem -subj "/CN=test authority" -days 36500 -sha256 2>/dev/null
leaf() { # name, digest, key arguments...
  name=$1; digest=$2; shift 2
  openssl req -new "$@" -nodes -keyout $name.key -out $name.csr -subj "/CN=$name" 2>/dev/null
  openssl x509 -req -in $name.csr -CA authority.pem -CAkey authority.key -set_serial 0x$(openssl rand -hex 8) -days 36500 -$digest -extfile <(ext clientAuth) -out $name.pem 2>/dev/null
}
leaf p256 sha256 -newkey ec -pkeyopt ec_paramgen_curve:P-256
leaf p384 sha256 -newkey ec -pkeyopt ec_paramgen_curve:P-384
leaf p521 sha256 -newkey ec -pkeyopt ec_paramgen_curve:P-521
leaf ed25519 sha256 -newkey ed25519
leaf rsa2048 sha256 -newkey rsa:2048
leaf rsa1024 sha256 -newkey rsa:1024
leaf secp256k1 sha256 -newkey ec -pkeyopt ec_paramgen_curve:secp256k1
leaf ed448 sha256 -newkey ed448
leaf sha1 sha1 -newkey ec -pkeyopt ec_paramgen_curve:P-256
# Signed with MD5, and RSASSA-PSS with SHA-1, by an RSA authority.
openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa-authority.key -out rsa-authority.pem -subj "/CN=rsa authority" -days 36500 -sha256 2>/dev/null
for one in md5 pss-sha1 pss-sha256; do
  digest=${one#pss-}; opts=""; case $one in pss-*) opts="-sigopt rsa_padding_mode:pss";; esac
  openssl x509 -req -in p256.csr -CA rsa-authority.pem -CAkey rsa-authority.key -set_serial 0x$(openssl rand -hex 8) -days 36500 -$digest $opts -extfile <(ext clientAuth) -out $one.pem 2>/dev/null
done
openssl req -x509 -key p256.key -out sha1-self-signed.pem -subj "/CN=self" -days 36500 -sha1 2>/dev/null
openssl x509 -req -in p256.csr -CA authority.pem -CAkey authority.key -set_serial 0x$(openssl rand -hex 8) -days 36500 -sha256 -extfile <(ext serverAuth) -out server-only.pem 2>/dev/null
openssl x509 -req -in p256.csr -CA authority.pem -CAkey authority.key -set_serial 0x$(openssl rand -hex 8) -days 36500 -sha256 -extfile <(printf 'basicConstraints=critical,CA:FALSE\n') -out no-usage.pem 2>/dev/null
openssl x509 -req -in p256.csr -CA authority.pem -CAkey authority.key -set_serial 0x$(openssl rand -hex 8) -days 36500 -sha256 -out version1.pem 2>/dev/null
openssl pkcs8 -topk8 -in p256.key -out p256-encrypted.key -passout pass:$P
openssl ec -in p256.key -aes128 -passout pass:$P -out p256-encrypted-sec1.key 2>/dev/null
openssl ec -in p256.key -out p256-sec1.key 2>/dev/null
x() { openssl pkcs12 -export -inkey p256.key -in p256.pem -certfile authority.pem -passout pass:$P "$@"; }
x -out new.p12
x -out new-sha1-mac.p12 -macalg sha1
x -out no-mac.p12 -nomac
x -out old.p12 -legacy
x -out old-3des.p12 -legacy -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES
x -out unread-rc4.p12 -legacy -keypbe PBE-SHA1-RC4-128 -certpbe PBE-SHA1-RC4-128
openssl pkcs12 -export -nokeys -in authority.pem -passout pass:$P -out no-key.p12
rm -f *.csr authority.key rsa-authority.key rsa-authority.pem rsa1024.key secp256k1.key ed448.key sha1.key
