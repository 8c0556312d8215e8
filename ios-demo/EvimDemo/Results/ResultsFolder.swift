import EvimCore
import Foundation

/// The folder of results files.
struct ResultsFolder: Sendable {
    let url: URL

    /// The app's Documents folder.
    static var documents: ResultsFolder { ResultsFolder(url: .documentsDirectory) }

    /// The files in it, the newest first.
    func files() -> [ResultsFile] {
        let names = try? FileManager.default.contentsOfDirectory(at: url, includingPropertiesForKeys: nil)
        return (names ?? [])
            .filter { $0.lastPathComponent.hasPrefix("evim-") && $0.pathExtension == "json" }
            .map(ResultsFile.init)
            .sorted { $0.created > $1.created }
    }

    /// Writes the results of a launch with `--benchmark` under a name that a script knows beforehand.
    ///
    /// - Returns: `evim-MODEL-MODE.json`.
    func write(_ results: Results, of model: BundledModel) throws -> URL {
        let file = url.appending(component: "evim-\(model.name)-\(results.timingProtocol.name).json")
        try results.write(to: file)
        return file
    }

    /// Writes results under a name that no earlier ones have.
    func add(_ results: Results, of model: BundledModel) throws {
        let moment = results.created.formatted(.iso8601.dateTimeSeparator(.standard).timeSeparator(.omitted))
        let name = "evim-\(model.name)-\(results.timingProtocol.name)-\(moment).json"
        try results.write(to: url.appending(component: name))
    }
}
