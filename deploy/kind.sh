#!/usr/bin/env bash
# A cluster of its own by kind, on this machine's Docker: builds the images, loads them, installs the chart with the
# laptop's values, runs its test, has one picture made, and deletes the cluster. `make kind` runs it.
#
#   TORCH_INDEX  where the CPU build of torch is found (docs/deploy.md); empty takes the larger CUDA build
#   KEEP=1       leaves the cluster there
#   UNCLIP       the command line, `unclip`
#   OUT          folder of the picture, out/kind
set -euo pipefail
cd "$(dirname "$0")/.."

cluster="unclip-kind"
namespace=pictures
context=kind-$cluster
unclip=${UNCLIP:-unclip}
out=${OUT:-out/kind}
version=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' deploy/helm/unclip/Chart.yaml)
gateway=unclip-gateway:$version
model=unclip-model:$version-cpu
forward=

for command in docker kind kubectl helm; do
    command -v "$command" || { echo "make kind needs $command" >&2; exit 1; }
done

finish() {
    status=$?
    [ -z "$forward" ] || kill "$forward" || true
    if [ "$status" -ne 0 ]; then
        kubectl --context "$context" --namespace "$namespace" get pods,events || true
    fi
    [ -n "${KEEP:-}" ] || kind delete cluster --name "$cluster"
    exit "$status"
}
trap finish EXIT

docker build --file deploy/Dockerfile --target gateway --tag "$gateway" .
docker build --file deploy/Dockerfile --target model --build-arg TORCH_INDEX="${TORCH_INDEX:-}" --tag "$model" .

kind create cluster --name "$cluster" --wait 120s
kind load docker-image --name "$cluster" "$gateway" "$model"

kubectl --context "$context" create namespace "$namespace"
kubectl --context "$context" label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted
helm install unclip deploy/helm/unclip --kube-context "$context" --namespace "$namespace" \
    --values deploy/helm/examples/laptop.yaml
kubectl --context "$context" --namespace "$namespace" rollout status deployment \
    --selector app.kubernetes.io/instance=unclip --timeout 600s
helm test unclip --kube-context "$context" --namespace "$namespace" --logs

kubectl --context "$context" --namespace "$namespace" port-forward service/unclip-gateway 50050:50050 &
forward=$!
mkdir -p "$out"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    "$unclip" info --server 127.0.0.1:50050 && break
    sleep 1
done
"$unclip" generate "a flat emoji of a red apple" --seed 1 --server 127.0.0.1:50050 --out "$out"
echo "made in $out"
