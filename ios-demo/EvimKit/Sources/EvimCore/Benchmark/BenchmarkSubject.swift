/// The model that a benchmark times, as its results file tells it.
public struct BenchmarkSubject: Equatable, Sendable {
    /// As tables call it, `EfficientViM-M4`.
    public let name: String
    /// The package, or without its name the network.
    public let source: String
    /// Where its weights come from, `random:0, untrained`.
    public let weights: String
    /// What was done to it for inference.
    public let form: String
    /// `fp16` or `fp32`.
    public let precision: String
    /// Of its images, pixels.
    public let height: Int
    /// Of its images, pixels.
    public let width: Int
    /// Images in one prediction.
    public let batch: Int
    /// Its row in the paper's tables.
    public let paper: String?
    /// Side in pixels of the images that the paper measures it at.
    public let nativeSide: Int?

    /// The model of a manifest.
    public init(manifest: Manifest) {
        (name, paper) = PaperName.name(ofModel: manifest.model)
        source = manifest.artifact ?? manifest.model
        weights = "\(manifest.weights.source), \(manifest.weights.trained ? "trained" : "untrained")"
        form = "as it stands in the file"
        precision = manifest.precision
        height = manifest.resolution.height
        width = manifest.resolution.width
        batch = manifest.batch
        nativeSide = PaperName.nativeSide(ofModel: manifest.model)
    }

    /// Whether its images are as large as the paper's.
    var isNativeSize: Bool {
        height == nativeSide && width == nativeSide
    }

    /// Id of a contender, the same in two files that time the same thing (`Entry.id` of `latency/plan.py`).
    func id(on units: ComputeUnits) -> String {
        "\(name), coreml, coreml, \(precision), \(units.rawValue), all threads, \(height)x\(width), batch \(batch)"
    }

    /// Group of contenders whose rounds are taken together.
    var group: String {
        "coreml, \(isNativeSize ? "own size" : "\(height)x\(width)"), batch \(batch)"
    }

    /// The paper's setting that a time on a device stands beside.
    func setting(isPhone: Bool) -> Results.Contender.Setting? {
        isPhone && precision == "fp16" && batch == 1 && isNativeSize ? .iphone : nil
    }
}
