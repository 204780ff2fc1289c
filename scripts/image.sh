#!/usr/bin/env bash
# Builds the connector's image, and runs commands that use it, on the host's network.
#   scripts/image.sh build IMAGE [docker build options]
#   scripts/image.sh exec COMMAND...    COMMAND reaches the engine through `docker`
#   scripts/image.sh available          succeeds where there is an engine
# The engine is the Docker daemon. Where none answers, IMAGE_TOOL may name a script that starts one:
# its commands are `up`, `build FOLDER IMAGE [options]`, and `env`, which prints what the shell must
# export for `docker` to find that engine.
set -euo pipefail
tool=${IMAGE_TOOL:+$(realpath "$IMAGE_TOOL")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_daemon() { timeout 20 docker info >/dev/null 2>&1; }

start_tool() {
  [ -n "$tool" ] || { echo 'No Docker daemon answers, and IMAGE_TOOL is not set.' >&2; exit 1; }
  bash "$tool" up
}

metadata() { sed -n "s/^  $1: //p" metadata.yaml; }

# Tools that call docker themselves have no option for the network, and the simulator listens on
# this machine's own address.
with_host_network() {
  local docker
  docker=$(command -v docker)
  folder=$(mktemp -d) # not local: the trap runs outside of this function
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
    # The labels that Airbyte's own build sets, and those of the Open Container Initiative.
    version=$(metadata dockerImageTag)
    labels=(
      --label "io.airbyte.name=$(metadata dockerRepository)"
      --label "io.airbyte.version=$version"
      --label "org.opencontainers.image.title=$(metadata dockerRepository)"
      --label "org.opencontainers.image.description=$(sed -n 's/^description = "\(.*\)"/\1/p' pyproject.toml)"
      --label "org.opencontainers.image.version=$version"
      --label "org.opencontainers.image.licenses=$(metadata license)"
      --label "org.opencontainers.image.revision=$(git rev-parse --quiet --verify HEAD 2>/dev/null || true)"
    )
    if has_daemon; then
      docker build --tag "$image" "${labels[@]}" "$@" .
    else
      start_tool
      bash "$tool" build . "$image" "${labels[@]}" "$@"
    fi
    ;;
  exec)
    shift
    if has_daemon; then
      with_host_network "$@"
    else
      start_tool
      eval "$(bash "$tool" env)"
      "$@"
    fi
    ;;
  available)
    has_daemon || [ -n "$tool" ]
    ;;
  *)
    sed -n '2,8p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
