#if canImport(CoreML)
    import CoreML
    import EvimCore
    import Foundation

    extension MLModelDescription {
        /// The manifest in a model's own metadata, without the name, size and hash of a package.
        ///
        /// - Throws: `EvimError.damaged` where there is none, as in a package that evim-deploy did not write;
        ///   `EvimError.newerSchema`.
        func embeddedManifest() throws(EvimError) -> Manifest {
            guard let json = ours("evim_deploy.manifest") else {
                throw .damaged(what: "The model", why: "its metadata has no manifest of evim-deploy")
            }
            return try Manifest(decoding: json)
        }

        /// The labels in a model's own metadata; none for features.
        ///
        /// - Throws: `EvimError.damaged`, `EvimError.labelCount`.
        func embeddedLabels(for manifest: Manifest) throws(EvimError) -> Labels {
            try Labels(decoding: ours("evim_deploy.labels") ?? Data("[]".utf8), for: manifest)
        }

        /// What evim-deploy wrote under a key (`evim_deploy/artifact/target.py`, METADATA_KEY and LABELS_KEY).
        private func ours(_ key: String) -> Data? {
            let byKey = metadata[.creatorDefinedKey] as? [String: String]
            return byKey?[key].map { Data($0.utf8) }
        }
    }
#endif
