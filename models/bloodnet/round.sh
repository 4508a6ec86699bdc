#!/bin/sh
# One round of BloodNet, from the heads to the card: MINUTES of training that go on from the weights of the bundle, then all that
# chooses and measures. Two jobs at a time. VERSION and CHANGE say what the bundle will be called. About 95 minutes beside the
# training on two cores. Nothing under models/ changes before the training is over.
#   VERSION=0.5.0 CHANGE="What is different." MINUTES=45 sh models/bloodnet/round.sh
set -eu
: "${VERSION:?}" "${CHANGE:?}"
python="${PYTHON:-.venv/bin/python}"
build="build/bloodnet/$VERSION"
pool="$build/pool"
mkdir -p "$build"
export OMP_NUM_THREADS=1
cores=$(nproc)
half=$(grep -q -m1 -w -E 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo 1 || echo 0)

both() {  # two commands side by side; fails when one of them does
  sh -c "$1" & first=$!
  sh -c "$2" & second=$!
  wait "$first"; wait "$second"
}
run() { echo "$python -m models.bloodnet.$*"; }

prepare="prepare --out=$pool --part="
both "$(run "${prepare}patients")" \
  "$(run "${prepare}procedural") && $(run "${prepare}template") && $(run "${prepare}contrast")"
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $python -m models.bloodnet.train --pool="$pool" --run="$build/run" \
  --start=models/bloodnet/models/model.safetensors --minutes="${MINUTES:-45}" --threads="$cores" --bfloat16="$half"
$python -m models.bloodnet.export --checkpoint="$build/run/last.pt" --version="$VERSION" --change="$CHANGE"
$python -m models.bloodnet.choose --pool="$pool" --jobs="$cores"
$python -m models.bloodnet.naming --pool="$pool" --jobs="$cores"
both "$(run evaluate --pool="$pool") && $(run stress --pool="$pool" --out="$build/picture" --levels=picture)" \
  "$(run stress --pool="$pool" --out="$build/hu" --levels=hu) && $(run ablate --pool="$pool" --out="$build/ablation.json")"
$python -m models.bloodnet.evaluate --pool="$pool" --scores="$pool/held_out.json" --ablation="$build/ablation.json"
$python -m models.bloodnet.naming --pool="$pool" --jobs="$cores" --measure
$python -m triage_node.evaluation.card models/bloodnet
