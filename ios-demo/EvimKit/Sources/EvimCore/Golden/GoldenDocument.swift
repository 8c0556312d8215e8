import Foundation

/// What a golden file says of itself: the JSON that `evim_deploy/golden.py` writes into its metadata.
struct GoldenDocument: Decodable {
    static let metadataKey = "evim_deploy.golden"
    static let readableVersions = 1...1
    static let what = "The golden file"

    struct Tolerance: Decodable {
        let maxAbs: Double
        let meanAbs: Double

        enum CodingKeys: String, CodingKey {
            case maxAbs = "max_abs"
            case meanAbs = "mean_abs"
        }
    }

    let artifact: String
    let artifactSHA256: String
    let model: String
    let task: String
    let output: String
    let preprocess: Bool
    let weights: Manifest.Weights
    let tolerance: Tolerance
    let leastProbability: Double?
    let cases: [String]
    let control: String

    enum CodingKeys: String, CodingKey {
        case schema, artifact, model, task, output, preprocess, weights, tolerance, cases, control
        case artifactSHA256 = "artifact_sha256"
        case leastProbability = "least_probability"
    }

    init(decoding json: Data) throws(EvimError) {
        try requireReadableVersion(of: json, within: Self.readableVersions, what: Self.what)
        self = try decode(Self.self, from: json, what: Self.what)
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        _ = try values.decode(String.self, forKey: .schema, among: ["evim-deploy-golden"])
        artifact = try values.decode(String.self, forKey: .artifact)
        artifactSHA256 = try values.decode(String.self, forKey: .artifactSHA256)
        model = try values.decode(String.self, forKey: .model)
        task = try values.decode(String.self, forKey: .task, among: Manifest.outputsOfTasks.keys.sorted())
        output = try values.decode(String.self, forKey: .output, among: Manifest.outputsOfTasks[task] ?? [])
        preprocess = try values.decode(Bool.self, forKey: .preprocess)
        weights = try values.decode(Manifest.Weights.self, forKey: .weights)
        tolerance = try values.decode(Tolerance.self, forKey: .tolerance)
        leastProbability = try values.decodeIfPresent(Double.self, forKey: .leastProbability)
        cases = try values.decode([String].self, forKey: .cases)
        control = try values.decode(String.self, forKey: .control)
        guard [tolerance.maxAbs, tolerance.meanAbs].allSatisfy({ $0.isFinite && $0 >= 0 }) else {
            throw Self.corrupted(.tolerance, in: values, "these are no tolerances")
        }
        guard leastProbability.map({ $0 > 0 && $0 < 1 }) ?? true else {
            throw Self.corrupted(.leastProbability, in: values, "this is no probability")
        }
        guard !cases.isEmpty, Set(cases).count == cases.count else {
            throw Self.corrupted(.cases, in: values, "there are none, or a name is there twice")
        }
    }

    private static func corrupted(
        _ key: CodingKeys, in values: KeyedDecodingContainer<CodingKeys>, _ why: String
    ) -> DecodingError {
        .dataCorruptedError(forKey: key, in: values, debugDescription: why)
    }
}
