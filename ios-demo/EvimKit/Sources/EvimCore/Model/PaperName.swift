/// What tables call a model, and at which size the paper measures it.
public struct PaperName {
    /// Native side in pixels by short name (`evim_deploy/catalog/variants.py`).
    private static let nativeSides = ["m1": 224, "m2": 224, "m3": 224, "m4": 256]
    private static let prefix = "efficientvim_"
    private static let suffix = "_dist"

    /// A model's name in tables, and its row in the paper's, if it has one.
    ///
    /// A distilled model stands beside the paper's row of the plain one, whose speed it has there
    /// (`latency/subjects.py`).
    ///
    /// - Parameter model: As a manifest calls it, such as `efficientvim_m4_dist`.
    /// - Returns: The name, which for a model that the paper does not have is the one given, and the row.
    public static func name(ofModel model: String) -> (name: String, paper: String?) {
        guard let variant = variant(ofModel: model) else { return (model, nil) }
        let paper = "EfficientViM-\(variant.uppercased())"
        return (model.hasSuffix(suffix) ? "\(paper)-dist" : paper, paper)
    }

    /// The side in pixels of the images that the paper measures a model at; nil for a model that it does not have.
    public static func nativeSide(ofModel model: String) -> Int? {
        variant(ofModel: model).flatMap { nativeSides[$0] }
    }

    private static func variant(ofModel model: String) -> String? {
        guard model.hasPrefix(prefix) else { return nil }
        let short = model.dropFirst(prefix.count)
        let variant = String(short.hasSuffix(suffix) ? short.dropLast(suffix.count) : short)
        return nativeSides[variant] == nil ? nil : variant
    }
}
