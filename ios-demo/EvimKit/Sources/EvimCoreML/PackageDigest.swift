#if canImport(CoreML)
    import CryptoKit
    import EvimCore
    import Foundation

    /// The identity of a package: a hash of its files' names and contents.
    enum PackageDigest {
        /// The hash of a package (hex), which must be that of the manifest file beside it, if there is one.
        ///
        /// - Throws: `EvimError.damaged` where they differ, or where a file cannot be read; `EvimError.newerSchema`.
        static func verified(_ package: URL) throws(EvimError) -> String {
            let found: String
            let beside: Data?
            do {
                found = try sha256(package)
                let file = package.appendingPathExtension("json")
                beside = try FileManager.default.fileExists(atPath: file.path) ? Data(contentsOf: file) : nil
            } catch {
                throw .damaged(what: package.lastPathComponent, why: error.localizedDescription)
            }
            guard let beside else { return found }
            guard try Manifest(decoding: beside).sha256 == found else {
                throw .damaged(what: package.lastPathComponent, why: "its sha256 is not the one in its manifest")
            }
            return found
        }

        /// As `sha256()` in `evim_deploy/common/publish.py`: each file's path in the package, a zero byte, its content; files in
        /// the order of their paths' components.
        static func sha256(_ package: URL) throws -> String {
            let members = try FileManager.default.subpathsOfDirectory(atPath: package.path)
                .map { $0.split(separator: "/").map(String.init) }
                .sorted { $0.lexicographicallyPrecedes($1) }
            var hash = SHA256()
            for member in members {
                let path = member.joined(separator: "/")
                let file = package.appending(path: path, directoryHint: .notDirectory)
                guard try file.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile == true else { continue }
                hash.update(data: Data("\(path)\0".utf8))
                hash.update(data: try Data(contentsOf: file, options: .mappedIfSafe))
            }
            return hash.finalize().map { String(format: "%02x", $0) }.joined()
        }
    }
#endif
