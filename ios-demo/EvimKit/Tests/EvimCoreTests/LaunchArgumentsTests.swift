import Testing

@testable import EvimCore

@Suite struct LaunchArgumentsTests {
    private static func read(_ words: String) throws -> LaunchArguments {
        try LaunchArguments(words.split(separator: " ").map(String.init))
    }

    @Test(
        arguments: [
            "", "EvimDemo", "EvimDemo -NSDocumentRevisionsDebugMode YES -AppleLanguages (de)",
            "EvimDemo -FIRDebugEnabled", "--benchmark",
        ])
    func measuresNothingUnasked(words: String) throws {
        #expect(try Self.read(words).runsBenchmark == false)
    }

    @Test(arguments: ["EvimDemo --benchmark", "EvimDemo -AppleLocale de_DE --benchmark -Flag -Key 1"])
    func measuresAllWithoutFurtherWords(words: String) throws {
        let read = try Self.read(words)
        #expect(read.runsBenchmark)
        #expect(read.modes == BenchmarkMode.all)
        #expect(read.units == ComputeUnits.allCases)
        #expect((read.model, read.seconds, read.rounds) == (nil, nil, nil))
    }

    @Test func everyOptionIsHeard() throws {
        let read = try Self.read(
            "x --benchmark --modes sustained,paper,paper --units all,cpuOnly --model m4 --seconds 2.5 --rounds 3")
        #expect(read.modes == [.sustained, .paper])
        #expect(read.units == [.all, .cpuOnly])
        #expect((read.model, read.seconds, read.rounds) == ("m4", 2.5, 3))
        let requests = try read.requests(seed: 7)
        #expect(requests.map(\.mode.name) == ["sustained", "paper"])
        #expect(requests.map(\.mode.seconds) == [2.5, 2.5])
        #expect(requests.allSatisfy { $0.units == [.all, .cpuOnly] && $0.seed == 7 && $0.mode.rounds == 3 })
    }

    @Test(
        arguments: [
            ("x --bench", "There is no --bench."), ("x --", "There is no --."),
            ("x --modes paper", "--modes is for --benchmark"), ("x --benchmark --modes fast", "There is no mode fast."),
            ("x --benchmark --modes paper,", "There is no mode ."),
            ("x --benchmark --units npu", "no compute units npu"),
            ("x --benchmark --model", "--model has no value."),
            ("x --benchmark --model --seconds 1", "--model has no"),
            ("x --benchmark --benchmark", "--benchmark is given twice."),
            ("x --benchmark --rounds 1 --rounds 2", "--rounds is given twice."),
            ("x --benchmark --rounds 1.5", "--rounds 1.5 is no number."), ("x --benchmark --rounds 0", "0 rounds are"),
            ("x --benchmark --seconds soon", "--seconds soon is no number."),
            ("x --benchmark --seconds nan", "nan seconds of timing are impossible."),
            ("x --benchmark --seconds -1", "-1.0 seconds of timing are impossible."),
            ("x --benchmark paper", "paper stands behind no option."),
        ])
    func refusesWhatItDoesNotUnderstand(words: String, said: String) {
        let error = #expect(throws: EvimError.self) { try Self.read(words) }
        #expect(error?.errorDescription?.contains(said) == true)
    }
}
