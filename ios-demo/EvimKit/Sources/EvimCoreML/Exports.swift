#if canImport(CoreML)
    // Who imports EvimCoreML has guesses, labels and errors with it.
    @_exported import EvimCore
#endif
