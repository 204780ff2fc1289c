#!/usr/bin/env bash
# Runs a command that needs ASP.NET on Mono, and nginx: the tests in integration_tests/aspnet.
#   scripts/aspnet.sh COMMAND...
# What is missing is installed with apt-get if this is root or, in CI (where CI is set), with sudo.
# Where that is not possible, the command is left out.
set -euo pipefail

packages=(mono-devel mono-fastcgi-server4 nginx)

is_installed() {
  local tool
  for tool in wsdl2 mcs fastcgi-mono-server4 nginx; do
    PATH=$PATH:/usr/sbin command -v "$tool" > /dev/null || return 1
  done
}

leave_out() {
  printf 'LEFT OUT: %s. It needs Debian or Ubuntu with: apt-get install %s\n' "$1" "${packages[*]}"
  exit "${2:-0}"
}

install() {
  local as_root=()
  command -v apt-get > /dev/null || leave_out 'there is no apt-get here'
  if [ "$(id -u)" != 0 ]; then
    [ -n "${CI:-}" ] && sudo -n true 2> /dev/null || leave_out 'only root can install packages'
    as_root=(sudo)
  fi
  echo "Installing ${packages[*]}: about a minute, once"
  "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
      "${packages[@]}" > /dev/null || leave_out 'apt-get failed' "${CI:+1}"
}

is_installed || install
"$@"
