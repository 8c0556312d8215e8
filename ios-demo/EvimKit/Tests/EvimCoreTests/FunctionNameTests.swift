import Testing

@testable import EvimCore

/// A function of a package is chosen by its name, and a person is told what there is.
@Suite struct FunctionNameTests {
    @Test func oneThatIsThereIsTaken() throws {
        #expect(try FunctionName.require("384", among: ["224", "384"]) == "384")
    }

    @Test(arguments: [
        (["224", "384"], "The model has no function 512; it has 224, 384."),
        ([], "The model has no function 512; it has only one."),
    ])
    func oneThatIsNotIsRefused(available: [String], message: String) throws {
        let error = try #require(
            #expect(throws: EvimError.self) { try FunctionName.require("512", among: available) })
        #expect(error == .missingFunction(name: "512", available: available))
        #expect(error.errorDescription == message)
        #expect(error.recoverySuggestion == "Name one of the model's functions, or none for its default.")
    }

    @Test func anOldSystemIsNotTheModelsFault() {
        let error = EvimError.functionsNotSupported(name: "384")
        #expect(error.errorDescription == "The function 384 cannot be chosen on this system.")
        #expect(error.recoverySuggestion?.contains("iOS 18") == true)
    }
}
