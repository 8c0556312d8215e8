#if canImport(CoreML)
    import EvimCore
    import Foundation
    import Testing

    /// The packages that `make ios-demo` left in ios-demo/Models, with their golden files.
    enum DemoModels {
        static let reason: Comment = "not run: there are no packages in ios-demo/Models; `make ios-demo` makes them"

        /// Every package there, in the order of their names.
        static let packages: [URL] = {
            let kit = URL(filePath: #filePath).deletingLastPathComponent()  // EvimKit/Tests/EvimCoreMLTests
                .deletingLastPathComponent().deletingLastPathComponent()
            let models = kit.deletingLastPathComponent().appending(path: "Models")
            let found = try? FileManager.default.contentsOfDirectory(at: models, includingPropertiesForKeys: nil)
            return (found ?? []).filter { $0.pathExtension == "mlpackage" }.sorted { $0.path < $1.path }
        }()

        static func golden(of package: URL) throws -> Golden {
            try Golden(decoding: Data(contentsOf: package.appendingPathExtension("golden.safetensors")))
        }
    }

    /// The error of ours that work ends with; nil where it does not fail.
    func refusal(_ work: () async throws -> Void) async throws -> EvimError? {
        do {
            try await work()
        } catch let error as EvimError {
            return error
        }
        return nil
    }
#endif
