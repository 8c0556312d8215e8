import EvimCore
import Foundation

/// The models in a folder, in the order of their names.
struct ModelLibrary: Sendable {
    /// A package that cannot be used, and why.
    struct Problem: Identifiable, Sendable {
        let id: String
        let failure: Failure
    }

    let models: [BundledModel]
    let problems: [Problem]

    /// Those of `ios-demo/Models`, which the build copies whole into the bundle.
    static var bundled: ModelLibrary {
        ModelLibrary(folder: Bundle.main.url(forResource: "Models", withExtension: nil))
    }

    /// The packages in a folder; none where there is no folder.
    init(folder: URL?) {
        let files = folder.flatMap {
            try? FileManager.default.contentsOfDirectory(at: $0, includingPropertiesForKeys: nil)
        }
        let packages = (files ?? []).filter { $0.pathExtension == "mlpackage" }
        var models: [BundledModel] = []
        var problems: [Problem] = []
        for package in packages.sorted(by: { $0.lastPathComponent < $1.lastPathComponent }) {
            do {
                models.append(try BundledModel(package: package))
            } catch {
                problems.append(Problem(id: package.lastPathComponent, failure: Failure(error)))
            }
        }
        self.models = models
        self.problems = problems
    }
}
