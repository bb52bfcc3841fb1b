#!/bin/sh
# Installs what the demo and the tests need from Debian where it is missing: Orthanc with DICOMweb and GDCM, DCMTK,
# dicom3tools.  Without root it prints the one command to run.   usage: debian-peers.sh [--check] [--viewer] [--conformance]
set -eu
check=no
packages=""
need() { # need PACKAGE FILE…: the package is wanted unless one of the files is there
    package=$1
    shift
    for file in "$@"; do [ -e "$file" ] && return 0; done
    packages="$packages $package"
}
need orthanc /usr/sbin/Orthanc /usr/local/sbin/Orthanc
need orthanc-dicomweb /usr/share/orthanc/plugins/libOrthancDicomWeb.so
need orthanc-gdcm /usr/share/orthanc/plugins/libOrthancGdcm.so
need dcmtk /usr/bin/storescu
need dicom3tools /usr/bin/dciodvfy
for option in "$@"; do
    case $option in
    --check) check=yes ;;
    --viewer)
        need chromium /usr/bin/chromium
        need nodejs /usr/bin/node
        need npm /usr/bin/npm /usr/local/bin/npm
        ;;
    --conformance)
        need libpixelmed-java /usr/share/java/pixelmed.jar
        need default-jre-headless /usr/bin/java
        ;;
    *)
        echo "debian-peers.sh: unknown option $option (--check, --viewer, --conformance)" >&2
        exit 2
        ;;
    esac
done
[ -z "$packages" ] && exit 0
command="apt-get update && apt-get install -y --no-install-recommends$packages"
if [ "$check" = yes ] || [ "$(id -u)" != 0 ]; then
    echo "Missing from this machine:$packages" >&2
    echo "Run once:  sudo sh -c '$command'" >&2
    exit 3
fi
export DEBIAN_FRONTEND=noninteractive
sh -c "$command" >/dev/null
# Debian starts an Orthanc of its own on 8042/4242 when the package goes in; ours run on free ports in their own folder
case $packages in *" orthanc"*) systemctl disable --now orthanc >/dev/null 2>&1 || service orthanc stop >/dev/null 2>&1 || true ;; esac
