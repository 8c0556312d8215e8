import Testing

@testable import EvimCore

@Suite struct GoldenCheckTests {
    private static func check(_ golden: Golden?, error: Float) async throws -> Results.Check {
        let loader = FakeLoader(clock: FakeClock())
        let model = FakeModel(units: .all, behavior: FakeBehavior(error: (error, 0)), loader: loader)
        return try await GoldenCheck(golden: golden).check(model)
    }

    @Test func rightAnswersAreEqual() async throws {
        let check = try await Self.check(FakeModel.golden(), error: 0.015625)
        // of the range of the image whose range is the largest, 4
        let expected = Results.Check(
            status: .equal, against: "PyTorch fp32, golden", error: 0.00390625, tolerance: 0.05)
        #expect(check == expected)
    }

    @Test(
        arguments: [
            (8, 2, "logits of image 0 is 2 of its range off PyTorch fp32, golden, and 0.05 is allowed"),
            (
                0.03125, 0.0078125,
                "logits of image 0 is on average 0.0078 of its range off PyTorch fp32, golden, and 0.005 is allowed"
            ),
            (.nan, nil, "logits of image 0 has values that are not numbers"),
            (.infinity, nil, "logits of image 0 has values that are not numbers"),
        ] as [(Float, Double?, String)])
    func wrongAnswersAreToldWithTheirSize(error: Float, size: Double?, said: String) async throws {
        let golden = try FakeModel.golden()
        let check = try await Self.check(golden, error: error)
        #expect(check == Results.Check(status: .different, against: said, error: size, tolerance: 0.05))
    }

    @Test func aGoldenFileThatRefusesNothingProvesNothing() async throws {
        let check = try await Self.check(FakeModel.golden(control: FakeModel.expected), error: 0)
        #expect(check.status == .notChecked)
        #expect(check.against == "the golden file takes disturbed weights for the right ones, too")
    }

    @Test func withoutAGoldenFileNothingIsChecked() async throws {
        let check = try await Self.check(nil, error: 0)
        #expect((check.status, check.against) == (.notChecked, "there is no golden file beside the model"))
    }

    @Test func outputsOfAnotherSizeAreAnError() async throws {
        let golden = try GoldenBuilder(expected: [[0, 1]], control: [[1, 0]]).golden()
        await #expect(throws: EvimError.outputShape(output: "logits", found: 4, expected: 2)) {
            try await Self.check(golden, error: 0)
        }
    }
}
