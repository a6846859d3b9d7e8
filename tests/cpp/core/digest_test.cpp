#include "tierod/core/digest.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tierod/core/error.h"

namespace tierod {
namespace {

std::string sha(const std::string& text) { return sha256_hex(text.data(), text.size()); }

// FIPS 180-4 example messages and NIST's long message.
TEST(Sha256, NistVectors) {
  EXPECT_EQ(sha(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(
      sha("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklm"
          "nopqrlmnopqrsmnopqrstnopqrstu"),
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(sha(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Base64, Rfc4648Vectors) {
  for (const auto& [plain, coded] : {std::pair<const char*, const char*>{"", ""},
                                     {"f", "Zg=="},
                                     {"fo", "Zm8="},
                                     {"foo", "Zm9v"},
                                     {"foob", "Zm9vYg=="},
                                     {"fooba", "Zm9vYmE="},
                                     {"foobar", "Zm9vYmFy"}}) {
    EXPECT_EQ(base64_encode(plain, std::string(plain).size()), coded);
    EXPECT_EQ(base64_decode(coded), plain);
  }
}

TEST(Base64, RoundTripsEveryByte) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    const std::string part = bytes.substr(bytes.size() - size);
    ASSERT_EQ(base64_decode(base64_encode(part.data(), part.size())), part) << size;
  }
  EXPECT_EQ(base64_encode("\xFB\xFF", 2), "+/8=");
}

TEST(Base64, RefusesMalformedText) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zg===", "=Zg=", "Z===", "Zg==Zg==", "Zm9-", "Zm 9",
                           "Zm=v", "Zm9v\n", "===="}) {
    EXPECT_THROW(base64_decode(text), InvalidArgument) << text;
  }
}

}  // namespace
}  // namespace tierod
