import Testing

@testable import EvimCore

@Suite struct BenchmarkSubjectTests {
    @Test func isToldByItsManifest() throws {
        let subject = try Bench.subject()
        #expect((subject.name, subject.paper) == ("EfficientViM-M4", "EfficientViM-M4"))
        #expect(subject.source == "efficientvim_m4_UNTRAINED_random0_256x256_fp16.mlpackage")
        #expect(subject.weights == "random:0, untrained")
        #expect(
            subject.id(on: .cpuAndNeuralEngine)
                == "EfficientViM-M4, coreml, coreml, fp16, cpuAndNeuralEngine, all threads, 256x256, batch 1")
        #expect(subject.group == "coreml, own size, batch 1")
    }

    @Test func aModelsOwnManifestHasNoFile() throws {
        #expect(try Bench.subject(["artifact": nil]).source == "efficientvim_m4")
    }

    @Test(
        arguments: [
            ([:], true, .iphone), ([:], false, nil), (["precision": "fp32"], true, nil), (["batch": 2], true, nil),
            (["resolution": [224, 224]], true, nil), (["resolution": [256, 224]], true, nil),
            (["model": "efficientvim_m1"], true, nil), (["model": "somebody's"], true, nil),
            (["model": "efficientvim_m2_dist", "resolution": [224, 224]], true, .iphone),
        ] as [([String: any Sendable], Bool, Results.Contender.Setting?)])
    func standsBesideThePaperIfTimedAsThere(
        changes: [String: any Sendable], isPhone: Bool, setting: Results.Contender.Setting?
    ) throws {
        let subject = try Bench.subject(changes.mapValues(Optional.some))
        #expect(subject.setting(isPhone: isPhone) == setting)
    }

    @Test func anotherSizeIsAnotherGroup() throws {
        #expect(try Bench.subject(["resolution": [192, 320]]).group == "coreml, 192x320, batch 1")
    }
}
