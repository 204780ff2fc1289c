#!/usr/bin/env bash
# Builds the connector's image, and runs commands that use it, on the host's network.
#   scripts/image.sh build IMAGE [docker build options]
#   scripts/image.sh exec COMMAND...    COMMAND finds an engine behind `docker`
#   scripts/image.sh available          whether either can work here
# Where a Docker daemon answers, it is used. Where none does, the tool beside the checkout sets up
# an engine of its own (IMAGE_TOOL=path: another such tool).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tool=${IMAGE_TOOL:-../shared/tools/image_ci.sh}

has_daemon() { timeout 20 docker info >/dev/null 2>&1; }

need_tool() {
  [ -f "$tool" ] || { echo "No Docker daemon answers, and there is no $tool to replace it." >&2; exit 1; }
  bash "$tool" up
}

# Tools that call docker themselves know no option for the network, and the simulator's address is
# this machine's own.
with_host_network() {
  local docker folder
  docker=$(command -v docker)
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  cat > "$folder/docker" <<EOF
#!/bin/sh
if [ "\$1" = run ]; then shift; exec "$docker" run --network=host "\$@"; fi
exec "$docker" "\$@"
EOF
  chmod +x "$folder/docker"
  PATH=$folder:$PATH "$@"
}

case ${1:-} in
  build)
    image=$2
    shift 2
    if has_daemon; then
      docker build --tag "$image" "$@" .
    else
      need_tool
      bash "$tool" build . "$image" "$@"
    fi
    ;;
  exec)
    shift
    if has_daemon; then
      with_host_network "$@"
    else
      need_tool
      eval "$(bash "$tool" env)"
      "$@"
    fi
    ;;
  available)
    has_daemon || [ -f "$tool" ]
    ;;
  *)
    sed -n '2,8p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
