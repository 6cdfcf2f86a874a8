// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec/json.hpp>
#include <cosaga/detail/base64.hpp>
#include <cosaga/detail/config.hpp>
#include <cosaga/detail/json_document.hpp>
#include <cosaga/detail/webhook_content.hpp>
#include <cosaga/detail/webhook_text.hpp>
#include <cosaga/error.hpp>

#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <utility>

namespace cosaga::detail {

inline constexpr std::string_view cloudevents_json = "application/cloudevents+json";
/// Members of a CloudEvent that no header of a message may be named after.
inline constexpr std::string_view cloudevents_names[] = {
    "specversion", "id", "source", "type", "time", "partitionkey", "datacontenttype", "data", "database64"};

[[noreturn]] inline void refuse_attribute(std::string_view name, char const* why)
{
    throw make_error(errc::bad_argument, "webhook: the attribute '" + std::string{name} + "' " + why);
}

[[noreturn]] inline void refuse_event(std::string const& why)
{
    throw make_error(errc::malformed_data, "CloudEvent: " + why);
}

inline bool is_attribute_name(std::string_view name) noexcept
{
    return !name.empty()
        && std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

inline bool is_json(std::string_view media_type) noexcept
{
    return media_type.empty() || media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json");
}

/// The attributes of a message in the order in which they are written, checked.
inline std::vector<header> attributes_of(message const& m)
{
    std::vector<header> all;
    auto const add = [&](std::string_view name, std::string_view value) {
        if (!is_header_value(value))
            refuse_attribute(name, "has a control character");
        if (std::any_of(all.begin(), all.end(), [&](header const& h) { return h.name == name; }))
            refuse_attribute(name, "is there twice");
        all.push_back({std::string{name}, std::string{value}});
    };
    if (m.type.empty() || m.source.empty())
        refuse_attribute(m.type.empty() ? "type" : "source", "is empty, which CloudEvents does not allow");
    add("specversion", "1.0");
    add("id", m.id.to_string());
    add("source", m.source);
    add("type", m.type);
    if (m.time != time_point{})
        add("time", to_rfc3339(m.time));
    if (!m.key.empty())
        add("partitionkey", m.key);
    for (auto const& h : m.headers) {
        if (!is_attribute_name(h.name))
            throw make_error(errc::bad_argument, "webhook: a header's name is not of lower-case letters and digits");
        if (std::find(std::begin(cloudevents_names), std::end(cloudevents_names), h.name) != std::end(cloudevents_names))
            refuse_attribute(h.name, "is no header but part of every event");
        add(h.name, h.value);
    }
    return all;
}

// CloudEvents, HTTP binding, 3.1.3.2.
inline std::string percent_encoded(std::string_view text)
{
    constexpr char digits[] = "0123456789ABCDEF";
    std::string encoded;
    for (char const c : text) {
        auto const byte = static_cast<unsigned char>(c);
        if (byte > 0x20 && byte < 0x7f && c != '"' && c != '%') {
            encoded += c;
            continue;
        }
        encoded += '%';
        encoded += digits[byte >> 4];
        encoded += digits[byte & 15];
    }
    return encoded;
}

inline std::string percent_decoded(std::string_view text)
{
    auto const nibble = [](char c) {
        auto const at = std::string_view{"0123456789abcdef"}.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
        return at == std::string_view::npos ? -1 : static_cast<int>(at);
    };
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            decoded += text[i];
            continue;
        }
        int const high = i + 2 < text.size() ? nibble(text[i + 1]) : -1;
        int const low = high >= 0 ? nibble(text[i + 2]) : -1;
        if (low < 0)
            refuse_event("a header has a % that no two hexadecimal digits follow");
        decoded += static_cast<char>(high << 4 | low);
        i += 2;
    }
    return decoded;
}

inline bool is_valid_json(std::string_view text)
{
    try {
        parse_json(text, json_codec::limits, [](json_value) {});
        return true;
    } catch (boost::system::system_error const&) {
        return false;
    }
}

inline webhook_content to_structured(message const& m)
{
    webhook_content made;
    made.content_type = cloudevents_json;
    auto& out = made.body;
    out = '{';
    for (auto const& a : attributes_of(m))
        out.append(1, '"').append(a.name).append("\":").append(json_codec::encode(a.value)).append(1, ',');
    auto const type = m.content_type.empty() ? std::string{"application/octet-stream"} : m.content_type;
    out.append("\"datacontenttype\":").append(json_codec::encode(type)).append(1, ',');
    if (is_json(media_type_of(type)) && is_valid_json(m.payload)) {
        out.append("\"data\":").append(m.payload);
    } else {
        out.append("\"data_base64\":\"");
        auto const from = out.size();
        out.resize(from + base64_size(m.payload.size()));
        base64_encode(std::as_bytes(std::span{m.payload.data(), m.payload.size()}), out.data() + from);
        out.append(1, '"');
    }
    out.append(1, '}');
    return made;
}

inline webhook_content to_binary(message const& m)
{
    webhook_content made;
    for (auto const& a : attributes_of(m))
        made.headers.push_back({"ce-" + a.name, percent_encoded(a.value)});
    made.body = m.payload;
    return made;
}

COSAGA_DECL webhook_content to_webhook_content(message const& m, webhook_format format)
{
    if (!is_header_value(m.content_type))
        refuse_attribute("datacontenttype", "has a control character");
    if (format == webhook_format::structured)
        return to_structured(m);
    if (media_type_of(m.content_type).starts_with("application/cloudevents"))
        refuse_attribute("datacontenttype", "is that of an event, which would be taken for the outer one");
    webhook_content made;
    if (format == webhook_format::binary)
        made = to_binary(m);
    else
        made.body = m.payload;
    made.content_type = m.content_type.empty() ? "application/octet-stream" : m.content_type;
    return made;
}

/// The texts of the members of an object, in order, of a document that is known to be valid JSON.
class json_member_texts {
public:
    explicit json_member_texts(std::string_view text) noexcept : text_{text}
    {
        at_ = text_.find('{') + 1;
        skip_space();
    }

    bool at_end() const noexcept { return at_ >= text_.size() || text_[at_] == '}'; }

    std::string_view next() noexcept
    {
        skip_string(); // the name
        at_ = std::min(text_.find(':', at_), text_.size());
        ++at_;
        skip_space();
        auto const from = std::min(at_, text_.size());
        auto end = from;
        for (std::size_t depth = 0; at_ < text_.size(); ++at_) {
            char const c = text_[at_];
            if (depth == 0 && (c == ',' || c == '}'))
                break;
            if (c == '"') {
                skip_string();
                end = at_--;
                continue;
            }
            depth += c == '{' || c == '[' ? 1u : 0u;
            depth -= c == '}' || c == ']' ? 1u : 0u;
            if (!is_space(c))
                end = at_ + 1;
        }
        if (!at_end()) {
            ++at_;
            skip_space();
        }
        return text_.substr(from, end - from);
    }

private:
    static bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
    void skip_space() noexcept
    {
        while (at_ < text_.size() && is_space(text_[at_]))
            ++at_;
    }
    void skip_string() noexcept // to behind its end
    {
        for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_)
            if (text_[at_] == '\\')
                ++at_;
        at_ = std::min(at_ + 1, text_.size());
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

/// A CloudEvent while it is read.
struct event_parts {
    static constexpr std::size_t max_attributes = 1024;

    message m;
    std::vector<std::string> seen;
    bool has_version = false;
    bool has_id = false;
    std::optional<std::string> data_text; ///< of `data` in the JSON format, when it is a string
    std::string data_json;

    void set(std::string_view name, std::string value)
    {
        if (std::find(seen.begin(), seen.end(), name) != seen.end())
            refuse_event("it repeats an attribute");
        if (seen.size() >= max_attributes)
            refuse_event("it has too many attributes");
        seen.emplace_back(name);
        if (name == "specversion") {
            if (value != "1.0")
                refuse_event("specversion is not 1.0");
            has_version = true;
        } else if (name == "id") {
            has_id = !value.empty();
        } else if (name == "source") {
            m.source = std::move(value);
        } else if (name == "type") {
            m.type = std::move(value);
        } else if (name == "time") {
            auto const when = parse_rfc3339(value);
            if (!when)
                refuse_event("time is not of the form 2026-11-23T06:00:00Z");
            m.time = *when;
        } else if (name == "partitionkey") {
            m.key = std::move(value);
        } else if (name == "datacontenttype") {
            m.content_type = media_type_of(value);
        } else if (is_attribute_name(name)) {
            m.headers.push_back({std::string{name}, std::move(value)});
        } else {
            refuse_event("an attribute's name is not of lower-case letters and digits");
        }
    }

    void require_all() const
    {
        if (!has_version || !has_id || m.source.empty() || m.type.empty())
            refuse_event("specversion, id, source or type is missing");
    }
};

inline void read_base64(json_value value, json_path const& at, std::string& payload)
{
    std::vector<std::byte> bytes;
    if (!base64_decode(value.text(at), bytes))
        refuse_event("data_base64 is not base64");
    payload.assign(reinterpret_cast<char const*>(bytes.data()), bytes.size());
}

inline void read_member(event_parts& e, std::string_view name, json_value value, std::string_view text)
{
    json_path const at{};
    if (name == "data") {
        if (text.starts_with('"'))
            e.data_text = value.text(at);
        e.data_json = text;
    } else if (name == "data_base64") {
        read_base64(value, at, e.m.payload);
    } else if (text.starts_with('"')) {
        e.set(name, std::string{value.text(at)});
    } else if (text.starts_with('{') || text.starts_with('[')) {
        refuse_event("an attribute is an object or an array");
    } else if (text != "null") {
        e.set(name, std::string{text}); // a number, true or false
    }
}

inline message from_structured(webhook_request const& r, message_limits const& limits)
{
    event_parts e;
    codec_limits parsing = json_codec::limits;
    parsing.bytes = limits.payload * 2 + limits.headers * (limits.header_value + limits.name);
    parse_json(r.body, parsing, [&](json_value document) {
        auto const object = document.object(json_path{});
        json_member_texts texts{r.body};
        for (std::size_t i = 0; i < object.size() && !texts.at_end(); ++i)
            read_member(e, object.key(i), object[i], texts.next());
        if (!texts.at_end())
            refuse_event("it repeats a member");
    });
    e.require_all();
    if (!e.data_json.empty()) {
        if (!e.m.payload.empty())
            refuse_event("it has data and data_base64");
        bool const as_text = e.data_text && !is_json(e.m.content_type);
        e.m.payload = as_text ? *e.data_text : e.data_json;
    }
    if (e.m.content_type.empty())
        e.m.content_type = "application/json";
    return std::move(e.m);
}

inline message from_binary(webhook_request const& r)
{
    event_parts e;
    for (auto const& h : r.headers) {
        auto const name = to_lower_ascii(h.name);
        if (name.starts_with("ce-"))
            e.set(std::string_view{name}.substr(3), percent_decoded(trimmed(h.value)));
    }
    e.require_all();
    e.m.payload = r.body;
    return std::move(e.m);
}

COSAGA_DECL message from_webhook_content(webhook_request const& r, message_limits const& limits)
{
    auto const type = media_type_of(r.find_header("content-type"));
    message m;
    if (type == cloudevents_json) {
        m = from_structured(r, limits);
    } else if (type.starts_with("application/cloudevents")) {
        refuse_event("'" + type + "' is not supported; send application/cloudevents+json, one event at a time");
    } else {
        if (r.find_header("ce-specversion").empty())
            m.payload = r.body;
        else
            m = from_binary(r);
        m.content_type = type;
    }
    check_limits(m, limits);
    return m;
}

COSAGA_DECL std::string media_type_of(std::string_view content_type)
{
    return to_lower_ascii(trimmed(content_type.substr(0, content_type.find(';'))));
}

} // namespace cosaga::detail
