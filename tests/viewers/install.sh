#!/usr/bin/env bash
# Install what package.json pins. OHIF is fetched as the finished web page that its
# package carries, checked by its hash, without the hundreds of packages that are
# only needed to build it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# npm writes this file last, so it is newer than the lock when all is installed.
for folder in . cornerstone; do
  if [[ ! $folder/node_modules/.package-lock.json -nt $folder/package-lock.json ]]; then
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    touch "$folder/node_modules/.package-lock.json"
  fi
done

version=$(node -p 'require("./package.json").config.ohif')
expected=$(node -p 'require("./package.json").config.ohif_integrity')
target=node_modules/@ohif/app
if [[ -f $target/dist/index.html && -f $target/package.json ]] &&
  [[ $(node -p "require('./$target/package.json').version") == "$version" ]]; then
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack "@ohif/app@$version" --pack-destination "$work" --ignore-scripts --loglevel=error >/dev/null
archive=$(echo "$work"/*.tgz)
actual="sha512-$(openssl dgst -sha512 -binary "$archive" | base64 --wrap=0)"
if [[ $actual != "$expected" ]]; then
  echo "OHIF $version is not the file that package.json names: $actual" >&2
  exit 1
fi
rm -rf "$target"
mkdir -p "$target"
tar --extract --gzip --file "$archive" --directory "$target" --strip-components=1
