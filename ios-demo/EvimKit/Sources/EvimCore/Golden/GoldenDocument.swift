import Foundation

/// What a golden file says of itself: the JSON that `evim_deploy/proof/golden.py` writes into its metadata.
struct GoldenDocument: Decodable {
    static let metadataKey = "evim_deploy.golden"
    static let readableVersions = 1...1
    static let what = "The golden file"

    let artifact: String
    let artifactSHA256: String
    let model: String
    let task: String
    let output: String
    let preprocess: Bool
    let weights: Manifest.Weights
    let tolerance: Golden.Tolerance
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
        tolerance = try values.decode(Golden.Tolerance.self, forKey: .tolerance)
        leastProbability = try values.decodeIfPresent(Double.self, forKey: .leastProbability)
        cases = try values.decode([String].self, forKey: .cases)
        control = try values.decode(String.self, forKey: .control)
        let areTolerances = [tolerance.maxAbs, tolerance.meanAbs].allSatisfy { $0.isFinite && $0 >= 0 }
        try values.require(areTolerances, forKey: .tolerance, "these are no tolerances")
        let isProbability = leastProbability.map { $0 > 0 && $0 < 1 } ?? true
        try values.require(isProbability, forKey: .leastProbability, "this is no probability")
        let areNames = !cases.isEmpty && Set(cases).count == cases.count
        try values.require(areNames, forKey: .cases, "there are none, or a name is there twice")
    }
}
