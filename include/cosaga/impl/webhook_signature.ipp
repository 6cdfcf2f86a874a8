// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/base64.hpp>
#include <cosaga/detail/config.hpp>
#include <cosaga/error.hpp>
#include <cosaga/webhook/signature.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>
#include <vector>

namespace cosaga {

struct webhook_hmac {
    static constexpr std::size_t size = 32;
    using digest = std::array<unsigned char, size>;

    static digest of(webhook_secret const& secret, std::string_view id, std::string_view timestamp, std::string_view body)
    {
        std::string content;
        content.reserve(id.size() + timestamp.size() + body.size() + 2);
        content.append(id).append(1, '.').append(timestamp).append(1, '.').append(body);
        digest made{};
        unsigned int written = 0;
        auto const* const bytes = reinterpret_cast<unsigned char const*>(content.data());
        if (!HMAC(EVP_sha256(), secret.bytes_.data(), static_cast<int>(secret.size_), bytes, content.size(), made.data(), &written)
            || written != size)
            throw make_error(errc::transport_failed, "HMAC-SHA256: OpenSSL refused it");
        return made;
    }
};

namespace detail {

inline constexpr std::string_view webhook_secret_prefix = "whsec_";
inline constexpr std::string_view webhook_version = "v1,";
inline constexpr std::size_t max_webhook_signature_header = 4096;

inline bool is_webhook_id(std::string_view id) noexcept
{
    return !id.empty() && id.size() <= max_webhook_id
        && std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~' && c != '.'; });
}

inline std::optional<std::int64_t> parse_webhook_timestamp(std::string_view text) noexcept
{
    std::int64_t seconds = 0;
    if (text.empty() || text.size() > 12 || text.front() == '-')
        return std::nullopt;
    auto const parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size())
        return std::nullopt;
    return seconds;
}

/// Calls `f` with each of the texts between the spaces; false when there are more than `most`.
template <class F>
bool for_each_signature(std::string_view header, std::size_t most, F f)
{
    std::size_t count = 0;
    while (!header.empty()) {
        auto const end = std::min(header.find(' '), header.size());
        if (end > 0) {
            if (++count > most)
                return false;
            f(header.substr(0, end));
        }
        header.remove_prefix(std::min(end + 1, header.size()));
    }
    return true;
}

inline webhook_verdict check_webhook_time(std::string_view text, time_point now, duration tolerance) noexcept
{
    auto const seconds = parse_webhook_timestamp(text);
    if (!seconds)
        return webhook_verdict::malformed_timestamp;
    auto const sent = time_point{std::chrono::seconds{*seconds}};
    if (sent < now - tolerance)
        return webhook_verdict::too_old;
    return sent > now + tolerance ? webhook_verdict::too_new : webhook_verdict::authentic;
}

} // namespace detail

COSAGA_DECL webhook_secret::webhook_secret(std::string_view text)
{
    std::vector<std::byte> bytes;
    bool valid = text.starts_with(detail::webhook_secret_prefix) && text.size() <= 128
              && detail::base64_decode(text.substr(detail::webhook_secret_prefix.size()), bytes);
    valid = valid && bytes.size() >= least_bytes && bytes.size() <= most_bytes;
    if (valid) {
        size_ = bytes.size();
        std::transform(bytes.begin(), bytes.end(), bytes_.begin(), [](std::byte b) { return std::to_integer<unsigned char>(b); });
    }
    bytes.resize(bytes.capacity()); // what was decoded before an error, too
    OPENSSL_cleanse(bytes.data(), bytes.size());
    if (!valid)
        throw make_error(errc::bad_argument, "webhook_secret: needs 'whsec_' and 24 to 64 bytes in base64");
}

COSAGA_DECL webhook_secret::~webhook_secret()
{
    OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

COSAGA_DECL webhook_secret webhook_secret::make()
{
    webhook_secret made;
    made.size_ = 32;
    if (RAND_bytes(made.bytes_.data(), static_cast<int>(made.size_)) != 1)
        throw make_error(errc::transport_failed, "webhook_secret::make: OpenSSL has no random bytes");
    return made;
}

COSAGA_DECL std::string webhook_secret::reveal() const
{
    std::string text{detail::webhook_secret_prefix};
    auto const from = text.size();
    text.resize(from + detail::base64_size(size_));
    detail::base64_encode(std::as_bytes(std::span{bytes_.data(), size_}), text.data() + from);
    return text;
}

COSAGA_DECL std::string sign_webhook(webhook_secret const& secret, webhook_stamp stamp, std::string_view body)
{
    return sign_webhook(std::span{&secret, 1}, stamp, body);
}

COSAGA_DECL std::string sign_webhook(std::span<webhook_secret const> secrets, webhook_stamp stamp, std::string_view body)
{
    if (!detail::is_webhook_id(stamp.id))
        throw make_error(errc::bad_argument, "sign_webhook: an id is 1 to 255 characters of visible ASCII without a dot");
    if (secrets.empty() || secrets.size() > max_webhook_secrets)
        throw make_error(errc::bad_argument, "sign_webhook: needs 1 to 8 secrets");
    std::string header;
    for (auto const& secret : secrets) {
        auto const digest = webhook_hmac::of(secret, stamp.id, std::to_string(stamp.timestamp), body);
        if (!header.empty())
            header += ' ';
        header += detail::webhook_version;
        auto const from = header.size();
        header.resize(from + detail::base64_size(digest.size()));
        detail::base64_encode(std::as_bytes(std::span{digest}), header.data() + from);
    }
    return header;
}

COSAGA_DECL char const* describe(webhook_verdict v) noexcept
{
    switch (v) {
    case webhook_verdict::authentic: return "the signature is right";
    case webhook_verdict::missing_id: return "the header webhook-id is missing";
    case webhook_verdict::missing_timestamp: return "the header webhook-timestamp is missing";
    case webhook_verdict::missing_signature: return "the header webhook-signature is missing";
    case webhook_verdict::malformed_id: return "the header webhook-id is not 1 to 255 visible characters without a dot";
    case webhook_verdict::malformed_timestamp: return "the header webhook-timestamp is not a number of seconds";
    case webhook_verdict::malformed_signature: return "the header webhook-signature is too long or has too many signatures";
    case webhook_verdict::too_old: return "the timestamp is too old";
    case webhook_verdict::too_new: return "the timestamp is in the future";
    case webhook_verdict::unknown_version: return "the header webhook-signature has no signature of version v1";
    case webhook_verdict::wrong_signature: break;
    }
    return "no signature is right";
}

COSAGA_DECL webhook_verdict verify_webhook(std::span<webhook_secret const> secrets, webhook_headers const& headers,
    std::string_view body, time_point now, duration tolerance)
{
    if (headers.id.empty())
        return webhook_verdict::missing_id;
    if (headers.timestamp.empty())
        return webhook_verdict::missing_timestamp;
    if (headers.signature.empty())
        return webhook_verdict::missing_signature;
    if (!detail::is_webhook_id(headers.id))
        return webhook_verdict::malformed_id;
    if (auto const time = detail::check_webhook_time(headers.timestamp, now, tolerance); time != webhook_verdict::authentic)
        return time;
    if (headers.signature.size() > detail::max_webhook_signature_header)
        return webhook_verdict::malformed_signature;

    std::vector<webhook_hmac::digest> given;
    bool const few = detail::for_each_signature(headers.signature, max_webhook_signatures, [&](std::string_view one) {
        std::vector<std::byte> bytes;
        if (!one.starts_with(detail::webhook_version))
            return;
        auto& digest = given.emplace_back();
        // One that is not base64 of that size is left as zeros, which no HMAC is in practice.
        if (detail::base64_decode(one.substr(detail::webhook_version.size()), bytes) && bytes.size() == digest.size())
            std::transform(bytes.begin(), bytes.end(), digest.begin(), [](std::byte b) { return std::to_integer<unsigned char>(b); });
    });
    if (!few)
        return webhook_verdict::malformed_signature;
    if (given.empty())
        return webhook_verdict::unknown_version;

    bool right = false;
    for (auto const& secret : secrets) {
        auto const expected = webhook_hmac::of(secret, headers.id, headers.timestamp, body);
        for (auto const& digest : given)
            right |= CRYPTO_memcmp(expected.data(), digest.data(), expected.size()) == 0;
    }
    return right ? webhook_verdict::authentic : webhook_verdict::wrong_signature;
}

} // namespace cosaga
