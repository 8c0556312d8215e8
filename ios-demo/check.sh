#!/usr/bin/env bash
# Builds, tests and lints the iOS side where Swift is installed. What needs Core ML runs on a Mac alone, and says so.
set -euo pipefail
cd "$(dirname "$0")"
oldest=6
if ! command -v swift >/dev/null; then
    echo "ios-demo: not run on this host: Swift is not installed (https://www.swift.org/install)"
    exit 0
fi
version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\).*/\1/p' | head -n 1)
if [ "${version:-0}" -lt "$oldest" ]; then
    echo "ios-demo: not run on this host: it needs Swift $oldest or later, and this is ${version:-unknown}"
    exit 0
fi
swift format lint --strict --recursive --configuration .swift-format \
    EvimKit/Package.swift EvimKit/Sources EvimKit/Tests EvimDemo EvimDemoTests Declarations
find EvimDemo EvimDemoTests -name '*.swift' -exec swiftc -frontend -parse {} +
swift build --package-path EvimKit -Xswiftc -warnings-as-errors
swift test --package-path EvimKit -Xswiftc -warnings-as-errors
# On a Mac the declarations would stand in the way of Apple's own frameworks, and Xcode checks the types.
[ "$(uname)" = Darwin ] || ./typecheck.sh
