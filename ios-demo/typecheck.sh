#!/bin/sh
# Type-checks the code that only Apple's SDK compiles, on Linux: EvimCoreML, its tests, the app and its tests.
#
# What stands in for Apple's frameworks is Declarations/, one folder a module: our own declarations of the parts that
# are used. It finds wrong types, missing awaits and data races; it does not find what we believe wrongly of Apple's API.
#
# Usage: ios-demo/typecheck.sh    (swiftc of Swift 6 on the PATH)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# as far as SIL: data races and uninitialised values are found there, after the types
swift="swiftc -swift-version 6 -parse-as-library -I $scratch -module-cache-path $scratch/cache
    -emit-sil -whole-module-optimization -o $scratch/sil"
strict=-warnings-as-errors

# emit NAME FOLDER [FLAG...]: checks the Swift files of a folder and makes a module of them
emit() {
    name=$1 folder=$2
    shift 2
    find "$folder" -name '*.swift' -print0 | sort -z |
        xargs -0 $swift -module-name "$name" -emit-module-path "$scratch/$name.swiftmodule" "$@" || {
        echo "typecheck.sh: $name does not pass" >&2
        exit 1
    }
}

# each declared module after those that it imports
for importer in "$here"/Declarations/*/; do
    name=$(basename "$importer")
    echo "$name $name"
    cat "$importer"*.swift | sed -n 's/^\(@[a-zA-Z_]* \)*import \([A-Za-z]*\).*/\2/p' | sort -u | while read -r imported; do
        if [ -d "$here/Declarations/$imported" ]; then echo "$imported $name"; fi
    done
done | tsort > "$scratch/order"
while read -r name; do
    # as Apple's are: an enumeration may grow; the warning is that Linux's Foundation is not made so
    emit "$name" "$here/Declarations/$name" -enable-library-evolution -suppress-warnings
done < "$scratch/order"

kit=$here/EvimKit
emit EvimCore "$kit/Sources/EvimCore" $strict
emit EvimCoreML "$kit/Sources/EvimCoreML" $strict -enable-testing
emit EvimCoreMLTests "$kit/Tests/EvimCoreMLTests" $strict
emit EvimDemo "$here/EvimDemo" $strict -enable-testing
emit EvimDemoTests "$here/EvimDemoTests" $strict

echo "Type-checked: EvimCoreML, its tests, EvimDemo, its tests."
echo "Against our own declarations in Declarations/, not Apple's SDK: only Xcode can tell that it builds."
