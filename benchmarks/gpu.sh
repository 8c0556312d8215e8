#!/usr/bin/env bash
# Measure what the paper measures on a GPU, in eight minutes, on a machine with an NVIDIA GPU, PyTorch and no network.
#
#     bash benchmarks/gpu.sh WHEELS
#     DEVICE=cpu bash benchmarks/gpu.sh WHEELS
#
# WHEELS is a folder of wheels for what the machine's Python lacks; benchmarks/gpu-wheels.txt says how to fill it. They
# go into a temporary folder, nothing is installed. DEVICE=cpu runs the same steps on the processor with small networks,
# to try the script: that takes 5.5 minutes of processor time, and has ten times the limit.
#
# Each step is a run of `evim-deploy bench` and writes $OUT/gpu-STEP.json ($OUT is this folder unless it is set). A file
# that a step could not complete says so. A step that fails or takes too long does not stop the others. The exit code is
# 1 unless all of them are complete. PYTHON names another python3, TOTAL other seconds for all steps than 470, and
# STEPS the steps to run, where not all: STEPS="figure-3 compiled".
set -uo pipefail

wheels=$(realpath "${1:?"name the folder of wheels: bash benchmarks/gpu.sh WHEELS"}")
out=$(realpath -m "${OUT:-$(dirname "$0")}")
cd "$(dirname "$0")/.." || exit
python=${PYTHON:-python3}
reserve=15 # seconds between the budget of a step, after which it begins no round, and its end
least=25   # seconds without which a step is not begun
mkdir -p "$out"

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
shopt -s nullglob
found=("$wheels"/*.whl)
if ((${#found[@]})); then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
        --target "$packages" "${found[@]}" || exit
fi
export PYTHONPATH=$packages:$PWD
"$python" -c 'import PIL, psutil, pydantic, rich, safetensors, torch, torchvision, typer
import timm
assert timm.is_model("efficientvim_m4"), f"timm {timm.__version__} lacks EfficientViM"' || {
    echo "This Python lacks what the measurements need. Add the wheel of it to $wheels (benchmarks/gpu-wheels.txt)."
    exit 1
}

case ${DEVICE:-cuda} in
cuda)
    ours=(m1 m2 m3 m4) small=(m1 m2) large=(m3 m4)
    timm=efficientvim_m1,efficientvim_m2,efficientvim_m3,efficientvim_m4
    small_peers=efficientvit_m4,mobilenetv3_large_100,shvit_s2,fastvit_t8,mobileone_s0,shvit_s1,efficientvit_m3
    small_peers+=,mobilenetv3_large_075,mobilevitv2_050,mobilevitv2_075,convnextv2_atto,efficientformerv2_s0
    large_peers=shvit_s3,shvit_s4,efficientvit_m5,mobileone_s2,mobileone_s3,mobileone_s4,fastvit_t12,mobilevitv2_100
    large_peers+=,mobilevitv2_125,convnextv2_femto,efficientformerv2_s1
    sweep=(m4 --peers shvit_s4 -r 512,1024,2048,4096)
    rivals=(m4 --peers efficientvim_m4)
    compiled=("${rivals[@]}")
    common=(-s gpu -p fp16 --memory)
    interleaved=(--seconds 1 --warmup 0.5 --rounds 10)
    alone=(--protocol paper --seconds 3 --warmup 1)
    usual=470
    ;;
cpu)
    ours=(digits) small=(digits) large=(digits)
    timm=efficientvim_m1 small_peers=shvit_s1 large_peers=shvit_s1
    sweep=(digits -r 32)
    rivals=(digits)
    compiled=(--peers figure-3) # a whole network takes the compiler minutes
    common=(-s gpu --device cpu -p bf16 -b 4 -r 64 --memory)
    interleaved=(--seconds 0.1 --warmup 0 --rounds 5)
    alone=(--protocol paper --seconds 0.1 --warmup 0)
    usual=4700
    ;;
*)
    echo "There is no device '$DEVICE': use cuda or cpu."
    exit 2
    ;;
esac

total=${TOTAL:-$usual}
later=$total
told=()
unfinished=0

# step NAME SHARE ARGUMENT...: one run of bench, and what came of it. It may take its share of 470 parts of the total, and
# the time that earlier steps did not need.
step() {
    local name=$1 file=$out/gpu-$1.json seconds code
    later=$((later - $2 * total / 470))
    seconds=$((total - SECONDS - later))
    [[ " ${STEPS:-$name} " == *" $name "* ]] || return
    shift 2
    rm -f "$file"
    unfinished=$((unfinished + 1))
    if ((seconds < least)); then
        told+=("not run     $name: no time was left")
        return
    fi
    echo "== $name, at most $seconds s"
    timeout --foreground --kill-after 10 "$seconds" "$python" -m evim_deploy bench "$@" "${common[@]}" \
        --budget "$((100 * (seconds - reserve) / 60))e-2" --json --output "$file" >/dev/null
    code=$?
    if [[ ! -f $file ]]; then
        told+=("failed      $name: exit code $code, see above; no file")
    elif ! grep -q '"complete": true' "$file"; then
        told+=("incomplete  $name: its time ended; $file has what was measured")
    elif ((code)); then
        told+=("in part     $name: exit code $code, see above; $file says which contenders failed")
    else
        told+=("complete    $name: $file")
        unfinished=$((unfinished - 1))
    fi
}

# The most important first; the shares sum to 470, and that of the first has the installation in it. In the sweep of
# resolutions each is timed alone, as in the paper: two contenders of 4096x4096 have no room on the GPU together.
step efficientvim  95 "${ours[@]}" --peers "$timm" -e torch "${interleaved[@]}"
step table-3-small 75 "${small[@]}" --peers "$small_peers" -e torch "${interleaved[@]}"
step table-3-large 70 "${large[@]}" --peers "$large_peers" -e torch "${interleaved[@]}"
step figure-3      40 --peers figure-3 -e torch --breakdown "${interleaved[@]}"
step resolution    95 "${sweep[@]}" -e torch "${alone[@]}"
step layouts       35 "${rivals[@]}" -e torch --layout channels-first,channels-last "${interleaved[@]}"
step compiled      60 "${compiled[@]}" -e torch,torch-compile "${interleaved[@]}"

if ((${#told[@]} == 0)); then
    echo "STEPS='$STEPS' names no step of this script."
    exit 2
fi
echo
echo "After $SECONDS s, in $out:"
printf '%s\n' "${told[@]}"
echo "To draw them, where evim-deploy[bench] is installed: evim-deploy report $out/gpu-*.json -o gpu.html"
((unfinished == 0))
