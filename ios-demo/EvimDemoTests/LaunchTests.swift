import EvimCore
import Testing

@testable import EvimDemo

/// What the app does by its launch arguments.
@Suite struct LaunchTests {
    @Test func withoutArgumentsItShowsItsTabs() {
        guard case .tabs = Launch(arguments: ["EvimDemo", "-NSDoubleLocalizedStrings", "NO"]) else {
            Issue.record("Apple's own arguments are not ours")
            return
        }
    }

    @Test func aBenchmarkIsAskedFor() {
        guard case .benchmark(let plan) = Launch(arguments: ["EvimDemo", "--benchmark", "--modes", "paper"]) else {
            Issue.record("--benchmark was not understood")
            return
        }
        #expect(plan.modes == [.paper])
    }

    @Test func anUnknownArgumentIsRefusedWithARemedy() {
        guard case .refused(let failure) = Launch(arguments: ["EvimDemo", "--bench"]) else {
            Issue.record("--bench was understood")
            return
        }
        #expect(failure.message.contains("--bench"))
        #expect(failure.remedy != nil)
    }
}
