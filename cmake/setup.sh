#!/usr/bin/env bash
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Installs the Debian 12 packages that are missing; changes nothing when none is.
# Usage: cmake/setup.sh [build|test|clang|fuzz]...
set -euo pipefail

packages=()
for group in "${@:-build}"; do
    case $group in
        build) packages+=(g++ cmake ninja-build pkg-config
                          libboost1.81-dev libboost-json1.81-dev cppzmq-dev libzmq3-dev libsqlite3-dev libssl-dev) ;;
        test) packages+=(libgtest-dev libgmock-dev libbenchmark-dev python3 python3-pip openssl) ;; # pip: tests/interop
        clang) packages+=(clang-16) ;;
        fuzz) packages+=(clang-16 libclang-rt-16-dev llvm) ;; # llvm: names in stack traces
        *) echo "setup.sh: no such group: $group" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query apt-get >/dev/null; then
    echo "setup.sh: this is not Debian; what is needed is called there: ${packages[*]}" >&2
    exit 0 # CMake says what is missing
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=missing
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup.sh: run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null; }

echo "setup.sh: installing ${missing[*]}"
apt-cache show "${missing[@]}" >/dev/null 2>&1 || apt update
# The lists may be older than the packages on the mirror.
apt install -y --no-install-recommends "${missing[@]}" || {
    apt update
    apt install -y --no-install-recommends "${missing[@]}"
}
