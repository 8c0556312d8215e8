import Foundation

@testable import EvimCore

/// A golden file that a test makes by hand, so that what it should say is known without Python.
struct GoldenBuilder {
    /// Output by name: shape, what is expected, and the control.
    var outputs: [(name: String, shape: [Int], expected: [Float], control: [Float])]
    var cases: [String]
    /// Type, shape and bytes of the images; of 1x1 pixels unless a test says otherwise.
    var input: (dtype: String, shape: [Int], bytes: [UInt8])
    /// The document in the metadata.
    var document: [String: any Sendable]

    /// Of a classifier that gives logits (cases, classes), compared with 0.1 and 0.05.
    init(expected: [[Float]], control: [[Float]], output: String = "logits") {
        let classes = expected.first?.count ?? 0
        cases = expected.indices.map { "image \($0)" }
        outputs = [(output, [expected.count, classes], expected.flatMap { $0 }, control.flatMap { $0 })]
        let count = expected.count * 3
        input = ("U8", [expected.count, 1, 1, 3], (0..<count).map { UInt8(truncatingIfNeeded: $0) })
        document = [
            "schema": "evim-deploy-golden", "schema_version": 1, "tool": "evim-deploy 0.1.0", "artifact": "a.mlpackage",
            "artifact_sha256": "ab", "model": "efficientvim_m1", "task": "classify", "output": output,
            "precision": "fp16", "preprocess": true,
            "weights": ["source": "random:0", "trained": false, "sha256": "cd", "note": ""] as [String: any Sendable],
            "reference": "PyTorch fp32",
            "tolerance": ["max_abs": 0.1, "mean_abs": 0.05, "reason": "by hand"] as [String: any Sendable],
            "control": "noise of 20%",
        ]
    }

    func file() throws -> Data {
        var header: [String: Any] = [:]
        var bytes: [UInt8] = []
        func add(_ name: String, _ dtype: String, _ shape: [Int], _ content: [UInt8]) {
            let offsets = [bytes.count, bytes.count + content.count]
            header[name] = ["dtype": dtype, "shape": shape, "data_offsets": offsets] as [String: Any]
            bytes += content
        }
        for output in outputs {
            add("expected.\(output.name)", "F32", output.shape, Documents.bytes(output.expected))
            add("control.\(output.name)", "F32", output.shape, Documents.bytes(output.control))
        }
        add("input", input.dtype, input.shape, input.bytes)
        let whole = document.merging(["cases": cases]) { changed, _ in changed }
        let json = try JSONSerialization.data(withJSONObject: whole)
        header["__metadata__"] = ["evim_deploy.golden": String(decoding: json, as: UTF8.self)]
        let text = try String(decoding: JSONSerialization.data(withJSONObject: header), as: UTF8.self)
        return Documents.safetensors(header: text, bytes: bytes)
    }

    func golden() throws -> Golden { try Golden(decoding: file()) }
}
