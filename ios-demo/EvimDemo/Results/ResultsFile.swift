import EvimCore
import Foundation

/// A file of results in the app's Documents folder, which the Files app shows, too.
struct ResultsFile: Identifiable, Sendable {
    let url: URL
    /// What it holds, or why it cannot be read.
    let contents: Result<Results, Failure>

    var id: URL { url }

    /// When it was measured; a file that cannot be read is of no time.
    var created: Date {
        (try? contents.get())?.created ?? .distantPast
    }

    init(url: URL) {
        self.url = url
        do {
            contents = .success(try Results(decoding: Data(contentsOf: url)))
        } catch {
            contents = .failure(Failure(error))
        }
    }
}
