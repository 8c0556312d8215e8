package android.graphics;

public final class Bitmap {
    public static native Bitmap createScaledBitmap(Bitmap source, int width, int height, boolean filter);
    public static native Bitmap createBitmap(Bitmap source, int x, int y, int width, int height);
    public native int getWidth();
    public native int getHeight();
    public native void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height);
}
