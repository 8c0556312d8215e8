import Foundation

/// A class that a model takes an image for.
public struct Guess: Equatable, Sendable, Identifiable {
    /// Position of the class in the model's output.
    public let index: Int
    /// Its name.
    public let label: String
    /// How sure the model is, 0 to 1.
    public let probability: Double

    /// The class: no two guesses on one image have the same.
    public var id: Int { index }

    /// Makes a guess.
    public init(index: Int, label: String, probability: Double) {
        self.index = index
        self.label = label
        self.probability = probability
    }
}

/// From a classifier's output to what is on an image.
public enum Classification {
    /// Probabilities of logits, both of shape (classes).
    ///
    /// In double precision, with the largest logit subtracted so that none overflows (`evim_deploy/common/numerics.py`).
    ///
    /// - Throws: `EvimError.notFinite`.
    public static func softmax(_ logits: [Float]) throws(EvimError) -> [Double] {
        try requireFinite(logits.map(Double.init), output: "logits")
        guard let largest = logits.max() else { return [] }
        let exponentials = logits.map { exp(Double($0) - Double(largest)) }
        let sum = exponentials.reduce(0, +)
        return exponentials.map { $0 / sum }
    }

    /// The likeliest classes, the likeliest first; of equal ones the first comes first.
    ///
    /// - Parameters:
    ///   - count: How many.
    ///   - probabilities: Of shape (classes).
    ///   - labels: Of the same classes.
    /// - Returns: That many guesses, or one for each class where there are fewer.
    /// - Throws: `EvimError.labelCount`, `EvimError.notFinite`.
    public static func top(
        _ count: Int, of probabilities: [Double], labels: Labels
    ) throws(EvimError) -> [Guess] {
        guard labels.names.count == probabilities.count else {
            throw .labelCount(found: labels.names.count, expected: probabilities.count)
        }
        try requireFinite(probabilities, output: "probabilities")
        return ranked(probabilities).prefix(max(0, count)).map { index in
            Guess(index: index, label: labels.names[index], probability: probabilities[index])
        }
    }

    /// Positions of values by their size, the largest first, as numpy's `argsort(-values, kind="stable")`.
    private static func ranked(_ values: [Double]) -> [Int] {
        values.indices.sorted { (values[$1], $0) < (values[$0], $1) }
    }

    private static func requireFinite(_ values: [Double], output: String) throws(EvimError) {
        let count = values.count { !$0.isFinite }
        guard count == 0 else { throw .notFinite(output: output, count: count) }
    }
}
