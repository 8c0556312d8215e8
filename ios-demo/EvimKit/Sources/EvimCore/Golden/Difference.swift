import Foundation

/// One output of one image beside what it should be: a row of `evim_deploy/proof/outputs/differences.py`.
struct Difference: Equatable {
    /// Name of the image.
    let image: String
    /// Name of the output.
    let output: String
    /// Largest absolute error in the given unit; infinite where a value is not finite.
    let maxAbs: Double
    /// Mean absolute error in the given unit; infinite likewise.
    let meanAbs: Double
    /// Whether the largest value is at the same place, of equal ones the first; false where a value is not finite.
    let sameTop: Bool

    /// Compares values with as many expected ones, at least one.
    init(image: String, output: String, expected: [Double], actual: [Double], unit: Double) {
        self.image = image
        self.output = output
        let errors = zip(expected, actual).map { expected, actual in
            let error = abs(actual - expected) / unit
            return error.isFinite ? error : .infinity
        }
        maxAbs = errors.reduce(0, max)
        meanAbs = errors.reduce(0, +) / Double(errors.count)
        let finite = expected.allSatisfy(\.isFinite) && actual.allSatisfy(\.isFinite)
        sameTop = finite && Self.firstLargest(expected) == Self.firstLargest(actual)
    }

    /// The unit of an output's errors: its range in the image that has the largest.
    ///
    /// Of a constant its magnitude, and 1 of zeros; also 1 where the range is not finite.
    static func unit(ofImages images: [[Double]]) -> Double {
        images.map(range).max() ?? 1
    }

    /// The logits that probabilities of shape (classes) stand for; those are up to a constant, here of mean 0.
    ///
    /// A probability below the least that its type resolves counts as that; one that is not a number stays so.
    static func logits(of probabilities: [Double], least: Double) -> [Double] {
        let logs = probabilities.map { log($0 < least ? least : $0) }
        let mean = logs.reduce(0, +) / Double(logs.count)
        return logs.map { $0 - mean }
    }

    private static func range(_ values: [Double]) -> Double {
        guard values.allSatisfy(\.isFinite), let least = values.min(), let greatest = values.max() else { return 1 }
        if greatest > least { return (greatest - least).isFinite ? greatest - least : 1 }
        return greatest == 0 ? 1 : abs(greatest)
    }

    private static func firstLargest(_ values: [Double]) -> Int? {
        values.indices.max { (values[$0], $1) < (values[$1], $0) }
    }
}

extension Parity {
    /// Sums up the rows of a comparison, of which there is at least one.
    init(of rows: [Difference], classes: Bool, tolerance: Golden.Tolerance) {
        // The first of equals, as Python's max().
        let worst = rows.dropFirst().reduce(rows[0]) { $1.maxAbs > $0.maxAbs ? $1 : $0 }
        let count = Double(rows.count)
        let mean = rows.map(\.meanAbs).reduce(0, +) / count
        self.init(
            status: worst.maxAbs <= tolerance.maxAbs && mean <= tolerance.meanAbs ? .pass : .fail,
            maxAbs: worst.maxAbs,
            meanAbs: mean,
            top1: classes ? Double(rows.count(where: \.sameTop)) / count : nil,
            worstCase: worst.image,
            worstOutput: worst.output,
            tolerance: tolerance)
    }

    /// The same where the golden file's control was not refused.
    var provingNothing: Parity {
        Parity(
            status: status == .pass ? .cannotFail : status, maxAbs: maxAbs, meanAbs: meanAbs, top1: top1,
            worstCase: worstCase, worstOutput: worstOutput, tolerance: tolerance)
    }
}
