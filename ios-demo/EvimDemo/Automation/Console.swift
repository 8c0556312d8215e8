import Foundation

/// Lines for whoever launched the app with `--benchmark`, such as `xcrun devicectl device process launch --console`.
enum Console {
    /// Writes a line at once; `print` would keep it back where the output is no terminal.
    static func write(_ line: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data("evim-benchmark: \(line)\n".utf8))
    }
}
