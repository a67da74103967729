// JSON's numbers as floating point numbers, rounded to the nearest, a tie to even. Pure.
#include "abi.h"

enum { WORDS = 72, DIGITS = 64 };

// big is a whole number of any size, least word first.
struct big {
  uint32_t words[WORDS];
  size_t len; // without zeros in front
};

// scale multiplies by m and adds a; m is at least 1. The callers' bounds keep it within WORDS.
static void scale(struct big *b, uint32_t m, uint32_t a) {
  uint64_t carry = a;
  for (size_t i = 0; i < b->len; i++) {
    carry += (uint64_t)b->words[i] * m;
    b->words[i] = (uint32_t)carry;
    carry >>= 32;
  }
  if (carry) b->words[b->len++] = (uint32_t)carry;
}

// divide divides by d, and returns the remainder.
static uint32_t divide(struct big *b, uint32_t d) {
  uint64_t rest = 0;
  for (size_t i = b->len; i > 0; i--) {
    rest = rest << 32 | b->words[i - 1];
    b->words[i - 1] = (uint32_t)(rest / d);
    rest %= d;
  }
  while (b->len > 0 && b->words[b->len - 1] == 0) b->len--;
  return (uint32_t)rest;
}

static void shift_words(struct big *b, size_t n) {
  if (b->len == 0) return;
  __builtin_memmove(b->words + n, b->words, b->len * sizeof *b->words);
  __builtin_memset(b->words, 0, n * sizeof *b->words);
  b->len += n;
}

// round_big returns b times 2 to the power of exponent; more: there is something behind it.
static bool round_big(const struct big *b, int exponent, bool more, double *value) {
  if (b->len == 0) return true; // too small for a number, or none
  int bits = (int)(b->len * 32) - __builtin_clz(b->words[b->len - 1]);
  int top = bits + exponent; // the value is below 2 to its power
  if (top > 1024) return false;
  int keep = top > -1021 ? 53 : top + 1074; // bits that have a place; fewer of subnormal ones
  if (keep < 0) return true;
  int drop = bits - keep;
  uint64_t mantissa = 0;
  for (int i = bits - 1; i >= drop && i >= 0; i--) mantissa = mantissa << 1 | (b->words[i / 32] >> (i % 32) & 1);
  if (drop > 0) {
    bool half = b->words[(drop - 1) / 32] >> ((drop - 1) % 32) & 1;
    for (int i = 0; i < drop - 1 && !more; i++) more = b->words[i / 32] >> (i % 32) & 1;
    mantissa += half && (more || (mantissa & 1));
  } else {
    mantissa <<= -drop;
  }
  // mantissa is at most 2 to the power of 53: its value is exact, and so is each step.
  double v = (double)mantissa;
  for (int e = exponent + drop; e != 0;) {
    int step = e > 1000 ? 1000 : e < -1000 ? -1000 : e;
    uint64_t bitsof = (uint64_t)(1023 + step) << 52;
    double power;
    __builtin_memcpy(&power, &bitsof, sizeof power);
    v *= power;
    e -= step;
  }
  *value = v;
  return v <= 1.7976931348623157e308;
}

bool ps_to_double(ps_str text, double *value) {
  struct big b = {{0}, 0};
  size_t i = 0, seen = 0;
  int64_t exponent = 0, written = 0;
  bool more = false, point = false, negative = text.len > 0 && text.data[0] == '-', small = false;
  *value = 0;
  for (i = negative; i < text.len && text.data[i] != 'e' && text.data[i] != 'E'; i++) {
    if (text.data[i] == '.') {
      point = true;
      continue;
    }
    uint32_t digit = (uint32_t)(text.data[i] - '0');
    exponent -= point;
    if (seen == 0 && digit == 0) continue;
    if (seen++ < DIGITS) {
      scale(&b, 10, digit);
      continue;
    }
    exponent++; // further digits only say whether something is behind
    more |= digit != 0;
  }
  if (i < text.len) {
    small = text.data[++i] == '-';
    if (small || text.data[i] == '+') i++;
    for (; i < text.len; i++)
      if (written < 1000000) written = written * 10 + (text.data[i] - '0');
    exponent += small ? -written : written;
  }
  if (b.len == 0) {
    *value = negative ? -0.0 : 0.0;
    return true;
  }
  if (exponent > 310) return false; // b is at least 1
  int shifted = 0;
  if (exponent < -400) { // below the smallest number, with at most DIGITS before the point
    *value = negative ? -0.0 : 0.0;
    return true;
  }
  for (; exponent >= 9; exponent -= 9) scale(&b, 1000000000, 0);
  for (; exponent > 0; exponent--) scale(&b, 10, 0);
  if (exponent < 0) { // enough bits that what is left has all that count
    size_t words = (size_t)(-exponent * 10 / 3 / 32) + 4;
    shift_words(&b, words);
    shifted = (int)words * 32;
  }
  for (; exponent <= -9; exponent += 9) more |= divide(&b, 1000000000) != 0;
  for (; exponent < 0; exponent++) more |= divide(&b, 10) != 0;
  if (!round_big(&b, -shifted, more, value)) return false;
  if (negative) *value = -*value;
  return true;
}
