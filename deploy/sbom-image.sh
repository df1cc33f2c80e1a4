#!/usr/bin/env bash
# sbom-image.sh PYTHON IMAGE: a bill of materials of a built image, in out/sbom; by Docker, or by Podman where DOCKER says.
set -euo pipefail
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}
container=$("$docker" create "$2")
trap '"$docker" rm "$container" >&2' EXIT
"$docker" export "$container" | "$1" -m deploy.sbom --image "$2"
