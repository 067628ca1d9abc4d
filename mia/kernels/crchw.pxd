# CRC32C of whole int64 words for the compiled journal kernel: the CPU's crc32 instruction where it has one (3 cycles
# per word and no table to push trading state out of the first-level cache), else the bitwise definition via a table.
cdef extern from *:
    """
    static unsigned int mia_crc_table[256];
    static int mia_crc_mode = 0; /* 0 unknown, 1 table, 2 instruction */

    static long long mia_crc_soft(unsigned int crc, const long long *words, Py_ssize_t n) {
        for (Py_ssize_t i = 0; i < n; i++) {
            unsigned long long w = (unsigned long long)words[i];
            for (int b = 0; b < 8; b++) {
                crc = mia_crc_table[(crc ^ (unsigned int)(w >> (8 * b))) & 255u] ^ (crc >> 8);
            }
        }
        return (long long)crc;
    }

    #if defined(__x86_64__) && defined(__GNUC__)
    __attribute__((target("sse4.2")))
    static long long mia_crc_hard(unsigned int crc, const long long *words, Py_ssize_t n) {
        unsigned long long c = crc;
        for (Py_ssize_t i = 0; i < n; i++) c = __builtin_ia32_crc32di(c, (unsigned long long)words[i]);
        return (long long)(unsigned int)c;
    }
    static int mia_crc_has_hard(void) { __builtin_cpu_init(); return __builtin_cpu_supports("sse4.2"); }
    #else
    static long long mia_crc_hard(unsigned int crc, const long long *words, Py_ssize_t n) { return mia_crc_soft(crc, words, n); }
    static int mia_crc_has_hard(void) { return 0; }
    #endif

    static long long mia_crc_words(long long crc, const long long *words, Py_ssize_t n) {
        if (mia_crc_mode == 0) {
            for (unsigned int i = 0; i < 256; i++) {
                unsigned int c = i;
                for (int b = 0; b < 8; b++) c = (c & 1u) ? (c >> 1) ^ 0x82F63B78u : c >> 1;
                mia_crc_table[i] = c;
            }
            mia_crc_mode = mia_crc_has_hard() ? 2 : 1;
        }
        return mia_crc_mode == 2 ? mia_crc_hard((unsigned int)crc, words, n) : mia_crc_soft((unsigned int)crc, words, n);
    }
    """
    long long mia_crc_words(long long crc, const long long *words, Py_ssize_t n) noexcept nogil
