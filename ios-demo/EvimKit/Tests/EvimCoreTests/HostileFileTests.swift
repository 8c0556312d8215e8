import Foundation
import Testing

@testable import EvimCore

/// Files that broke on their way, or that somebody made to break a reader.
@Suite struct HostileFileTests {
    @Test func aGoldenFileCutShortAnywhereIsDamaged() throws {
        let file = try GoldenBuilder(expected: [[0, 2], [1, 0]], control: [[2, 0], [0, 1]]).file()
        for count in 0..<file.count {
            #expect(isRefused(file.prefix(count)), "of \(count) bytes")
        }
    }

    @Test func pythonsGoldenFileCutShortAnywhereIsDamaged() throws {
        let file = try Fixtures.data("golden.safetensors")
        // All lengths within the header; behind it nothing but the arrays' ends matters.
        let end = Self.headerEnd(of: file)
        let counts = Array(0...end) + stride(from: end, to: file.count, by: 97)
        for count in counts {
            #expect(isRefused(file.prefix(count)), "of \(count) bytes")
        }
        #expect(isRefused(file + Data([0])), "of a byte too many")
    }

    @Test(arguments: 0..<8)
    func changedBytesAreReadOrRefused(seed: Int) throws {
        var random = SeededGenerator(seed: seed)
        let file = try GoldenBuilder(expected: [[0, 2], [1, 0]], control: [[2, 0], [0, 1]]).file()
        for _ in 0..<500 {
            var changed = file
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                changed[Int.random(in: 0..<file.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            readOrRefuse(changed)
        }
    }

    @Test(arguments: 0..<8)
    func changedDigitsOfTheHeaderAreReadOrRefused(seed: Int) throws {
        // What changes at random is mostly no JSON any more; digits changed for digits reach the checks behind.
        var random = SeededGenerator(seed: seed)
        let file = try Fixtures.data("golden.safetensors")
        let digits = file.indices.prefix(Self.headerEnd(of: file)).dropFirst(8).filter { (48...57).contains(file[$0]) }
        for _ in 0..<200 {
            var changed = file
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = try #require(digits.randomElement(using: &random))
                changed[place] = UInt8.random(in: 48...57, using: &random)
            }
            readOrRefuse(changed)
        }
    }

    @Test(arguments: 0..<4)
    func noiseIsRefused(seed: Int) {
        var random = SeededGenerator(seed: seed)
        for count in 0..<200 {
            #expect(isRefused(Data((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })))
        }
    }

    @Test func aManifestCutShortAnywhereIsDamaged() throws {
        let file = Data(try Fixtures.data("manifest.json").dropLast())
        for count in 0..<file.count {
            #expect(damage { try Manifest(decoding: file.prefix(count)) } != nil, "of \(count) bytes")
        }
    }

    @Test(arguments: 0..<4)
    func aManifestWithChangedBytesIsReadOrRefused(seed: Int) throws {
        var random = SeededGenerator(seed: seed)
        let file = try Fixtures.data("manifest.json")
        for _ in 0..<500 {
            var changed = file
            changed[Int.random(in: 0..<file.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            readOrRefuse { _ = try Manifest(decoding: changed) }
        }
    }

    private static func headerEnd(of file: Data) -> Int {
        8 + Int(file[0]) + Int(file[1]) << 8
    }

    private func isRefused(_ file: Data) -> Bool {
        damage { try Golden(decoding: file) } != nil
    }

    /// Where a golden file can still be read, it can also be used.
    private func readOrRefuse(_ file: Data) {
        readOrRefuse {
            let golden = try Golden(decoding: file)
            #expect(throws: EvimError.self) { try golden.compare([]) }
        }
    }

    /// Fails where a file is refused for another reason than that it is damaged or too new.
    private func readOrRefuse(_ read: () throws -> Void) {
        do {
            try read()
        } catch {
            switch error as? EvimError {
            case .damaged, .newerSchema: break
            default: Issue.record("refused as \(error)")
            }
        }
    }
}
