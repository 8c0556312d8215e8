import Testing

@testable import EvimCore

@Suite struct SeededGeneratorTests {
    @Test func givesTheNumbersOfSplitMix() {
        var generator = SeededGenerator(seed: 0)
        // the reference implementation's, seed 0
        #expect(generator.next() == 0xE220_A839_7B1D_CDAF)
        #expect(generator.next() == 0x6E78_9E6A_A1B9_65F4)
        #expect(generator.next() == 0x06C4_5D18_8009_454F)
    }

    @Test(arguments: [0, 1, 2, 5, 40], [-1, 0, 7])
    func aPermutationHasEachPlaceOnce(count: Int, seed: Int) {
        var generator = SeededGenerator(seed: seed)
        var twin = generator
        let order = generator.permutation(of: count)
        #expect(order.sorted() == Array(0..<count))
        #expect(order == twin.permutation(of: count))
    }

    @Test func eachPlaceIsAsLikelyAsTheOthers() {
        var generator = SeededGenerator(seed: 3)
        var first = [0, 0, 0]
        for _ in 0..<3000 { first[generator.permutation(of: 3)[0]] += 1 }
        #expect(first.allSatisfy { abs($0 - 1000) < 100 })
    }
}
