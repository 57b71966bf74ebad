# Keys of connections: made, looked at, signed with, destroyed. Names are hashes: + stands for one of them.
path "transit/keys/+" {
  capabilities = ["create", "update", "read", "delete"]
  # What stays out of a request is as good as denied: a key that can be exported is not made.
  allowed_parameters = {
    "type"                   = ["ecdsa-p256", "ed25519", "rsa-2048"]
    "derived"                = [false]
    "exportable"             = [false]
    "allow_plaintext_backup" = [false]
    "auto_rotate_period"     = ["0"]
  }
}
path "transit/keys/+/config" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "deletion_allowed" = [] }
}
path "transit/sign/+" {
  capabilities = ["create", "update"]
}

# The key that data keys are wrapped under: used, and never changed. What is written out comes before what has a + in it.
path "transit/keys/shipbound-kek" {
  capabilities = ["read"]
}
path "transit/keys/shipbound-kek/config" {
  capabilities = ["deny"]
}
path "transit/encrypt/shipbound-kek" {
  capabilities = ["update"]
}
path "transit/decrypt/shipbound-kek" {
  capabilities = ["update"]
}

# The anchor.
path "secret/data/shipbound/anchor" {
  capabilities = ["create", "update", "read"]
}
path "secret/metadata/shipbound/anchor" {
  capabilities = ["read"]
}
