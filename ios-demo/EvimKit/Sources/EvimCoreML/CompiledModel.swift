#if canImport(CoreML)
    import CoreML
    import EvimCore
    import Foundation

    /// A model in the form that Core ML loads, an `.mlmodelc`.
    struct CompiledModel: Sendable {
        /// Where it is.
        let url: URL
        /// What people call it: the name of the file that it was made from.
        let name: String
        /// Of the package that it was made from; nil where it came compiled.
        let sha256: String?

        /// Compiles a package, unless that was done before, or takes what is compiled as it is.
        ///
        /// - Throws: `EvimError.damaged` for a package that is not the one its manifest file describes;
        ///   `EvimError.modelRefused`; the file system's own errors where Caches cannot be written.
        init(contentsOf url: URL) async throws {
            name = url.lastPathComponent
            switch url.pathExtension {
            case "mlmodelc":
                (self.url, sha256) = (url, nil)
            case "mlpackage":
                let digest = try PackageDigest.verified(url)
                (self.url, sha256) = (try await Self.compiled(url, digest: digest), digest)
            default:
                throw EvimError.modelRefused(name: name, why: "it is neither an .mlpackage nor an .mlmodelc.")
            }
        }

        /// Removes what was compiled here, so that the next time it is compiled anew: what is kept may be damaged.
        func forget() {
            if sha256 != nil { try? FileManager.default.removeItem(at: url) }
        }

        /// The compiled form of a package, kept under Caches by the package's content.
        private static func compiled(_ package: URL, digest: String) async throws -> URL {
            let files = FileManager.default
            let caches = try files.url(for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            let folder = caches.appending(path: "EvimKit", directoryHint: .isDirectory)
            // by the system's version too: each compiles in its own way
            let system = ProcessInfo.processInfo.operatingSystemVersion
            let version = "\(system.majorVersion).\(system.minorVersion).\(system.patchVersion)"
            let kept = folder.appending(path: "\(digest)-\(version).mlmodelc", directoryHint: .isDirectory)
            if files.fileExists(atPath: kept.path) { return kept }

            let made: URL
            do {
                made = try await MLModel.compileModel(at: package)
            } catch {
                throw EvimError.modelRefused(name: package.lastPathComponent, why: error.localizedDescription)
            }
            // moved beside first, which may copy, then renamed: another process sees the whole of it or nothing
            let beside = folder.appending(path: ".\(UUID().uuidString).mlmodelc", directoryHint: .isDirectory)
            defer { try? files.removeItem(at: beside) }
            try files.createDirectory(at: folder, withIntermediateDirectories: true)
            try files.moveItem(at: made, to: beside)
            do {
                try files.moveItem(at: beside, to: kept)
            } catch {
                // else someone was faster, with the same content
                guard files.fileExists(atPath: kept.path) else { throw error }
            }
            return kept
        }
    }
#endif
