#if canImport(CoreML)
    import CoreML
    import EvimCore
    import Foundation

    extension EvimModel: LoadedModel {
        /// The outputs for each case of a golden file: a classifier's `probabilities` in the order of its labels, or
        /// each array in rows, by its name.
        ///
        /// A model of several images is given as many cases at once, the last time filled up from the first, as
        /// `evim_deploy/common/numerics.py` does (`batches`).
        ///
        /// - Throws: `EvimError.damaged` for a golden file of another package or size, `EvimError.outputShape`, and Core
        ///   ML's own errors.
        public func outputs(of golden: Golden) throws -> [[String: [Float]]] {
            try requireSamePackage(golden)
            var answers: [[String: [Float]]] = []
            for start in stride(from: 0, to: golden.cases.count, by: input.batch) {
                let features = try input.features(of: golden, from: start)
                let values = try outputs.values(of: model.prediction(from: features))
                let real = min(input.batch, golden.cases.count - start)
                answers += try outputs.split(values, into: input.batch).prefix(real)
            }
            return answers
        }

        /// Times predictions on one input, noise that is always the same.
        ///
        /// Each prediction drains its own autorelease pool, so that a long burst does not fill the memory; that is
        /// timed with it.
        ///
        /// - Throws: What ``EvimCore/Burst/time(by:_:)`` throws, and Core ML's own errors.
        public func time(_ burst: Burst, by clock: any MonotonicClock) throws -> [Double] {
            let features = try timedInput ?? input.noise()
            timedInput = features
            return try burst.time(by: clock) {
                try autoreleasepool { _ = try model.prediction(from: features) }
            }
        }

        private func requireSamePackage(_ golden: Golden) throws(EvimError) {
            guard let sha256, sha256 != golden.artifactSHA256 else { return }
            throw .damaged(what: "The golden file", why: "it was made with another \(golden.artifact)")
        }
    }
#endif
