import Foundation

/// The names of a model's classes, in the order of its outputs.
///
/// They lie in a model's own metadata under `evim_deploy.labels`, a JSON list.
public struct Labels: Equatable, Sendable {
    /// One name for each class, each once.
    public let names: [String]

    /// Reads the labels of a model.
    ///
    /// Names that differ only in how Unicode composes them count as the same: a classifier's probabilities are looked
    /// up by name, and Swift's dictionaries do not tell such names apart.
    ///
    /// - Throws: `EvimError.labelCount` where there are not as many as the model has classes; `EvimError.damaged` where
    ///   they are no JSON list of names, or a name is empty or there twice.
    public init(decoding json: Data, for manifest: Manifest) throws(EvimError) {
        let what = "The list of labels"
        names = try decode([String].self, from: json, what: what)
        let classes = manifest.numClasses ?? 0
        guard names.count == classes else { throw .labelCount(found: names.count, expected: classes) }
        var seen: Set<String> = []
        for name in names {
            guard !name.allSatisfy(\.isWhitespace) else { throw .damaged(what: what, why: "a name is empty") }
            guard seen.insert(name).inserted else {
                throw .damaged(what: what, why: "it names \"\(name)\" more than once")
            }
        }
    }
}
