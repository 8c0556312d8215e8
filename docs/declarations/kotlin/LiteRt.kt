// What these mean is said in LiteRT's own documentation: https://ai.google.dev/edge/litert/next/android_kotlin

package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

abstract class JniHandle : AutoCloseable {
    override fun close(): Unit = TODO("a declaration")
}

class Environment private constructor() : JniHandle()

class TensorBuffer private constructor() : JniHandle() {
    fun writeFloat(data: FloatArray): Unit = TODO("a declaration")
    fun readFloat(): FloatArray = TODO("a declaration")
}

class CompiledModel private constructor() : JniHandle() {
    class Options(vararg accelerators: Accelerator)

    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO("a declaration")
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO("a declaration")
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0): Unit = TODO("a declaration")

    companion object {
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options,
            optionalEnv: Environment? = null,
        ): CompiledModel = TODO("a declaration")
    }
}
