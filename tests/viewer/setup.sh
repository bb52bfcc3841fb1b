#!/bin/sh
# Installs OHIF's ready build, dwv and playwright-core, pinned, into .cache/viewer of the repository.  Run by `make viewer-setup`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=$here/../../.cache/viewer
version=$(node -p "require('$here/package.json').config.ohif")
sha256=b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || {
    echo "the viewer test needs Node.js 20 or newer, this is $(node --version) (Debian 12 has 18: take it from nodejs.org)" >&2
    exit 3
}
mkdir -p "$target"
target=$(cd "$target" && pwd)
if ! cmp -s "$here/package-lock.json" "$target/package-lock.json"; then
    cp "$here/package.json" "$target/package.json"
    cp "$here/package-lock.json" "$target/package-lock.json.new"
    mv "$target/package-lock.json.new" "$target/package-lock.json"
    (cd "$target" && npm ci --ignore-scripts --no-audit --no-fund --silent) || { rm "$target/package-lock.json"; exit 4; }
fi
if [ ! -f "$target/ohif-$version/index.html" ]; then
    # the tarball holds the finished build in dist/; `npm install` would also bring 200 packages that it does not need
    (cd "$target" && npm pack --silent "@ohif/app@$version" >/dev/null)
    echo "$sha256  $target/ohif-app-$version.tgz" | sha256sum --check --quiet
    rm -rf "$target/unpacked"
    mkdir "$target/unpacked"
    tar xzf "$target/ohif-app-$version.tgz" -C "$target/unpacked" --strip-components=1
    mv "$target/unpacked/dist" "$target/ohif-$version"
    rm -rf "$target/unpacked" "$target/ohif-app-$version.tgz"
fi
