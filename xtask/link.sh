#!/usr/bin/env bash
# Links as `cc` does, and puts the functions that run while a proxy starts and rests beside each other.
#
# `cargo xtask dist` has rustc call this in the place of `cc`. The kernel maps the pages around each page of
# code that runs, so that functions which lie scattered over the program bring most of it into memory. STARTUP
# names a list of functions, without the hash that ends each name; those that the list has come first.
set -euo pipefail

objects=()
output=
previous=
for argument in "$@"; do
  case $argument in
    *.o | *.rlib | *.a) if [ -f "$argument" ]; then objects+=("$argument"); fi ;;
  esac
  if [ "$previous" = -o ]; then output=$argument; fi
  previous=$argument
done

case $output in
  */meltemi-*) ;;
  # a build script, or a macro
  *) exec cc "$@" ;;
esac

order=$(mktemp)
trap 'rm -f "$order"' EXIT
nm --defined-only --format=just-symbols "${objects[@]}" 2>/dev/null |
  awk -v list="$STARTUP" '
    BEGIN { while ((getline name < list) > 0) listed[name] = 1 }
    { name = $0; sub(/17h[0-9a-f]+E$/, "", name) }
    name in listed { print }
  ' >"$order"
cc "$@" "-Wl,--symbol-ordering-file=$order" -Wl,--no-warn-symbol-ordering
