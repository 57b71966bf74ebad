#!/usr/bin/env bash
# tests/scan-log.sh FILE...: fails if the mark that every secret of the tests bears is in one of these files: as it is, in
# another case, in base64 (any alignment, either alphabet), percent-encoded, in hexadecimal or as a list of octets.
# It first shows that it would find each of these.
set -euo pipefail
cd "$(dirname "$0")/.."

mark=$(sed -n 's/^pub const SECRET_MARK: &str = "\(.*\)";$/\1/p' src/sandbox/seed.rs)
[ ${#mark} -ge 12 ] || { echo "the mark is not where it was"; exit 2; }

hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
numbers() { printf %s "$1" | od -An -v -tu1 | tr -s ' \n' ' ' | sed 's/^ //; s/ $//; s/ /, /g'; }

needles() {
  local before
  echo "$mark"
  # Characters of base64 that hold bits of what is around the mark are left out.
  for before in 0 1 2; do
    { head -c "$before" /dev/zero; printf %s "$mark"; } | base64 -w0 |
      cut -c$(((before * 8 + 5) / 6 + 1))-$(((before + ${#mark}) * 8 / 6)) | sed 'p; y|+/|-_|'
  done
  hex "$mark"; echo
  hex "$mark" | sed 's/../%&/g'; echo
  numbers "$mark"; echo
}
patterns=$(mktemp)
trap 'rm -f "$patterns"' EXIT
needles | sed '/^$/d' | sort -u >"$patterns"

found() { grep -n -i -F -f "$patterns" -- "$@"; }

secret="$mark-planted"
for planted in "$secret" "${secret,,}" "$(printf %s "$secret" | base64)" "$(printf 'a%s' "$secret" | base64)" \
  "$(printf 'a:%s' "$secret" | base64 | tr '+/' '-_')" "$(hex "$secret")" "$(hex "$secret" | sed 's/../%&/g')" \
  "[$(numbers "$secret")]"; do
  echo "some text $planted and more" | found /dev/stdin >/dev/null || { echo "this would not be found: $planted"; exit 2; }
done

for file in "$@"; do [ -r "$file" ] || { echo "no such file: $file"; exit 2; }; done
if found "$@" /dev/null | cut -c1-300; then
  echo "a secret was printed, see above"
  exit 1
fi
echo "$# files with $(cat -- "$@" | wc -l) lines: no secret in any of $(wc -l <"$patterns") shapes"
