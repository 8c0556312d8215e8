import EvimCore
import Foundation

/// A model package in the app's bundle, and what `make ios-demo` wrote beside it.
struct BundledModel: Identifiable, Equatable, Sendable {
    /// The package's file name without its extension; it says model, weights, size and precision.
    let name: String
    /// The `.mlpackage`, a folder.
    let package: URL
    /// What is true of the package, from the manifest beside it.
    let manifest: Manifest

    var id: String { name }

    /// The model's name as the paper writes it.
    var title: String { PaperName.name(ofModel: manifest.model).name }

    /// Reads the manifest beside a package.
    ///
    /// - Throws: `EvimError.damaged` where it is missing, or whatever `Manifest` finds wrong with it.
    init(package: URL) throws(EvimError) {
        self.package = package
        name = package.deletingPathExtension().lastPathComponent
        manifest = try Manifest(decoding: Self.contents(of: package.appendingPathExtension("json")))
    }

    /// What Linux computed for this package, to hold the device against.
    ///
    /// The file holds images, some megabytes, so it is read only when it is asked for.
    ///
    /// - Returns: nil where the package was exported without.
    /// - Throws: Whatever `Golden` finds wrong with it.
    func golden() throws(EvimError) -> Golden? {
        let file = package.appendingPathExtension("golden.safetensors")
        guard FileManager.default.fileExists(atPath: file.path) else { return nil }
        return try Golden(decoding: Self.contents(of: file))
    }

    private static func contents(of url: URL) throws(EvimError) -> Data {
        do {
            return try Data(contentsOf: url)
        } catch {
            throw .damaged(what: url.lastPathComponent, why: error.localizedDescription)
        }
    }
}
