import EvimCore
import Foundation
import Observation

/// The results files, as the screen lists them.
@MainActor
@Observable
final class ResultsStore {
    private(set) var files: [ResultsFile] = []

    private let folder = ResultsFolder.documents

    /// Reads the folder anew; long files take a moment, so not on the main thread.
    func reload() async {
        let folder = folder
        files = await Task.detached { folder.files() }.value
    }

    /// Keeps results beside the earlier ones.
    func save(_ results: Results, of model: BundledModel) throws {
        try folder.add(results, of: model)
    }

    /// Deletes files by their places in the list.
    func delete(_ places: IndexSet) {
        for place in places {
            try? FileManager.default.removeItem(at: files[place].url)
        }
        files.removeAll { !FileManager.default.fileExists(atPath: $0.url.path) }
    }
}
