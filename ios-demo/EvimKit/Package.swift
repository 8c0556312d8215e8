// swift-tools-version: 6.0

import PackageDescription

let package = Package(
    name: "EvimKit",
    defaultLocalization: "en",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "EvimKit", targets: ["EvimCore", "EvimCoreML"])
    ],
    targets: [
        .target(name: "EvimCore"),
        .target(name: "EvimCoreML", dependencies: ["EvimCore"]),
        .testTarget(name: "EvimCoreTests", dependencies: ["EvimCore"], resources: [.copy("Fixtures")]),
        .testTarget(name: "EvimCoreMLTests", dependencies: ["EvimCore", "EvimCoreML"]),
    ],
    swiftLanguageModes: [.v6]
)
